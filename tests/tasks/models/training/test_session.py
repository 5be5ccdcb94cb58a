import numpy as np
import pytest

from tasks.models.training.disturbances import make_disturbance
from tasks.models.training.kits import CLASS_OF_PIECE, PIECES, RATE_HZ, Kit, Sound, make_kit
from tasks.models.training.material import CLASSES, ROWS_OF_GROUP
from tasks.models.training.performances import Performance, move_hihats_to_ride
from tasks.models.training.session import GROUPS, _choose_kit, render_session

CLICK = Sound((np.exp(-np.arange(2_000) / 200).astype(np.float32),))


def play(*strokes: tuple[float, str]) -> Performance:
    time_s, pieces = zip(*strokes, strict=True)
    return Performance(np.array(time_s), np.array([PIECES.index(p) for p in pieces]), np.full(len(pieces), 100))


def test_every_piece_is_in_one_group():
    assert sorted(piece for pieces in GROUPS.values() for piece in pieces) == sorted(PIECES)


def test_the_pieces_of_a_group_have_its_classes():
    rows = [sorted({CLASS_OF_PIECE[piece] for piece in pieces} - {None}) for pieces in GROUPS.values()]
    assert [len(names) for names in rows] == [len(classes) for classes in ROWS_OF_GROUP]
    assert sorted(row for classes in ROWS_OF_GROUP for row in classes) == list(range(CLASSES))


def test_a_hit_sounds_in_its_group_and_in_the_mix_at_its_time():
    kit = Kit("clicks", {"kick": [CLICK], "ride": [CLICK]})
    for seed in range(5):
        session = render_session(play((0.5, "kick")), [kit], 1.0, np.random.default_rng(seed))
        groups = list(GROUPS)
        assert not session.groups[[row for row, name in enumerate(groups) if name not in ("kick", "snare")]].any()
        for level in (np.abs(session.groups[groups.index("kick")]), np.abs(session.mix).max(axis=0)):
            assert np.argmax(level > 0.3 * level.max()) == pytest.approx(0.5 * RATE_HZ, abs=0.005 * RATE_HZ)


def test_hits_that_no_kit_can_play_are_not_in_the_truth():
    kit = Kit("clicks", {"kick": [CLICK]})
    session = render_session(play((0.2, "kick"), (0.6, "crash")), [kit], 1.0, np.random.default_rng(1))
    assert session.heard.piece.tolist() == [PIECES.index("kick")]


def test_the_same_seed_gives_the_same_session():
    kits = [make_kit(np.random.default_rng(2))]
    played = play((0.1, "kick"), (0.3, "snare"), (0.3, "hihat_closed"), (0.6, "tom_low"))
    first, second = (render_session(played, kits, 1.0, np.random.default_rng(3)) for _ in range(2))
    assert (first.groups == second.groups).all()
    assert (first.mix == second.mix).all()


def test_hihats_moved_to_the_ride_keep_their_times_and_nothing_else_moves():
    played = play(*((0.5 * i, ("kick", "hihat_closed", "snare", "hihat_open")[i % 4]) for i in range(40)))
    moved = move_hihats_to_ride(played, 20.0, np.random.default_rng(4))
    assert (moved.time_s == played.time_s).all()
    changed = moved.piece != played.piece
    assert changed.any()
    assert {CLASS_OF_PIECE[PIECES[piece]] for piece in played.piece[changed]} == {"hihat"}
    assert {CLASS_OF_PIECE[PIECES[piece]] for piece in moved.piece[changed]} <= {"ride", "crash"}


def test_disturbances_are_loud_and_finite():
    for seed in range(8):
        samples = make_disturbance(3.0, np.random.default_rng(seed))
        assert samples.shape == (2, 3 * RATE_HZ)
        assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-5)


def test_kits_from_formulas_do_not_crowd_out_samples_however_many_they_are():
    formulas = [Kit(f"formula/{number}", {"kick": [CLICK]}) for number in range(50)]
    short = Sound((CLICK.layers[0][:200],))
    lengths = []
    for seed in range(40):
        chosen = _choose_kit(
            ("kick",), None, [Kit("sampled", {"kick": [short]}), *formulas], np.random.default_rng(seed)
        )
        lengths.append(len(chosen.sounds["kick"][0].layers[0]))
    assert np.mean(np.array(lengths) == 200) == pytest.approx(0.7, abs=0.15)
