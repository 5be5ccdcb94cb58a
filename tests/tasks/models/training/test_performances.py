import numpy as np
import pytest

from tasks.models.training.kits import CLASS_OF_PIECE, PIECES, make_kit
from tasks.models.training.performances import Performance, excerpt, random_pattern
from tasks.music.drums import NOTES_OF_INSTRUMENT


def performance_of(piece: str, times_s: list[float]) -> Performance:
    count = len(times_s)
    return Performance(np.array(times_s), np.full(count, PIECES.index(piece)), np.full(count, 100))


def test_every_class_of_a_piece_is_an_instrument():
    assert {name for name in CLASS_OF_PIECE.values() if name} == set(NOTES_OF_INSTRUMENT)


def test_a_kit_from_formulas_has_every_piece():
    sounds = make_kit(np.random.default_rng(2)).sounds
    assert set(sounds) == set(PIECES)
    assert all(np.abs(sound[0].layers[0]).max() == pytest.approx(1.0) for sound in sounds.values())


def test_an_excerpt_begins_at_zero_and_ends_in_time():
    played = performance_of("snare", list(np.arange(0, 60, 0.5)))
    for seed in range(10):
        part = excerpt(played, 20.0, np.random.default_rng(seed))
        assert (part.time_s >= 0).all()
        assert (part.time_s < 20).all()


def test_the_same_seed_gives_the_same_pattern():
    first, second = (random_pattern(10.0, np.random.default_rng(4)) for _ in range(2))
    assert (first.time_s == second.time_s).all()
    assert (first.velocity == second.velocity).all()
