from itertools import pairwise

import numpy as np
import pytest

from tasks.models.training.kits import PIECES
from tasks.models.training.pulse_parts import STYLES, TICKS, Harmony, draw_beat, draw_form, make_band, make_drums
from tasks.music.meter import BEATS_PER_BAR

BARS = 12


@pytest.fixture(params=list(BEATS_PER_BAR))
def meter(request) -> str:
    return request.param


def test_the_sections_cover_the_song_without_a_gap(meter):
    sections = draw_form(meter, BARS, np.random.default_rng(0)).sections
    assert sections[0][0] == 0
    assert sections[-1][1] == BARS
    assert all(earlier[1] == later[0] for earlier, later in pairwise(sections))


@pytest.mark.parametrize("seed", range(8))
def test_drums_hit_known_pieces_within_the_song(meter, seed):
    rng = np.random.default_rng(seed)
    form = draw_form(meter, BARS, rng)
    events = make_drums(form, rng).events
    assert ((events[:, 0] >= 0) & (events[:, 0] < BARS * form.bar_ticks)).all()
    assert set(events[:, 1].astype(int)) <= set(range(len(PIECES)))


@pytest.mark.parametrize("seed", range(8))
def test_a_band_ends_with_its_last_bar(meter, seed):
    rng = np.random.default_rng(seed)
    form = draw_form(meter, BARS, rng)
    for part in make_band(form, rng, alone=seed % 2 == 0):
        assert len(part.events)
        assert (part.events[:, 0] + part.events[:, 3]).max() <= BARS * form.bar_ticks + TICKS
        assert ((part.events[:, 1] > 20) & (part.events[:, 1] < 110)).all()


def test_a_bar_of_six_eight_is_divided_in_threes():
    rng = np.random.default_rng(1)
    form = draw_form("6/8", BARS, rng)
    ticks = np.concatenate([part.events[:, 0] for _ in range(20) for part in make_band(form, rng, alone=True)])
    assert np.mean(ticks % 4 == 0) > 0.8
    assert np.mean(ticks % 6 == 0) < np.mean(ticks % 4 == 0)


def test_a_chordal_tune_has_notes_of_the_chord_on_its_beats(meter):
    for seed in range(4):
        form = draw_form(meter, BARS, np.random.default_rng(seed))
        band = make_band(form, np.random.default_rng(seed), alone=True, chordal=True)
        harmony = Harmony(form, np.random.default_rng(seed))  # the first that a band draws
        for tune in (part.events for part in band if part.is_tune):
            on_beat = tune[tune[:, 0] % TICKS == 0]
            roots = harmony.degree_at(on_beat[:, 0])
            chords = np.array([harmony.note_of(roots + third, 0) % 12 for third in (0, 2, 4)])
            assert (chords == on_beat[:, 1] % 12).any(axis=0).mean() > 0.85  # some lie outside the tune's range


def test_styles_choose_the_drum_patterns():
    form = draw_form("4/4", BARS, np.random.default_rng(0))
    four_on_the_floor = tuple(float(style == "four") for style in STYLES)
    for seed in range(4):
        events = make_drums(form, np.random.default_rng(seed), four_on_the_floor).events
        kicks = events[np.isin(events[:, 1], [PIECES.index("kick"), PIECES.index("tom_low")]), 0]
        assert len(np.unique(kicks % form.bar_ticks)) >= 4


def only(style: str) -> tuple[float, ...]:
    return tuple(float(name == style) for name in STYLES)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_a_bar_of_four_quarters(style, seed):
    rng = np.random.default_rng(seed)
    hits = draw_beat(draw_form("4/4", BARS, rng), rng, only(style))
    assert hits
    assert all(0 <= tick < 4 * TICKS and piece in PIECES and 0 < velocity < 128 for tick, piece, velocity in hits)


def test_triplets_are_played_on_the_thirds_of_the_beat():
    rng = np.random.default_rng(2)
    form = draw_form("4/4", BARS, rng)
    ticks = np.array([tick for _ in range(40) for tick, *_ in draw_beat(form, rng, only("triplets"))])
    off_beat = ticks[ticks % TICKS > 0]
    assert np.isin(off_beat % TICKS, (4, 8)).mean() > 0.8


def test_off_beat_snares_are_struck_between_the_beats():
    rng = np.random.default_rng(3)
    form = draw_form("4/4", BARS, rng)
    for _ in range(20):
        hits = draw_beat(form, rng, only("off-beat"))
        assert any(
            tick % TICKS and velocity >= 95 for tick, piece, velocity in hits if piece not in ("kick", "hihat_closed")
        )
