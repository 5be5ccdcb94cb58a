import numpy as np
import pytest

from tasks.models.training.kits import PIECES
from tasks.models.training.pulse_mix import mix
from tasks.models.training.pulse_parts import TICKS, draw_form
from tasks.models.training.pulse_songs import (
    CLIP_S,
    FRAMES,
    MENUS,
    Grid,
    Groove,
    Menu,
    make_clip,
    make_pulseless,
    play_groove,
    vary_groove,
)
from tasks.models.training.pulse_sounds import NOTE_FRAMES, NOTES, PROGRAMS, SoundBank, to_log_mel, to_summable
from tasks.music.signals import MEL_BANDS, Signal, compute_log_mel


@pytest.fixture(scope="module")
def bank() -> SoundBank:
    """Every sound is the same click."""
    click = np.exp(-np.arange(12.0))[None] * np.ones((MEL_BANDS, 1))
    note = np.repeat((0.97 ** np.arange(NOTE_FRAMES))[None] * np.ones((MEL_BANDS, 1)) / MEL_BANDS, len(NOTES), axis=0)
    notes = note.reshape(len(NOTES), MEL_BANDS, NOTE_FRAMES).astype(np.float32)
    kit = {piece: [[(click.astype(np.float32), click.astype(np.float32))]] for piece in PIECES}
    return SoundBank([kit], dict.fromkeys(PROGRAMS, notes), [np.ones((MEL_BANDS, 3_000), np.float32)])


@pytest.fixture(scope="module")
def groove() -> Groove:
    """A hit on every beat of eight bars of 4/4, the kick on the first."""
    beats = np.arange(32.0)
    piece = np.where(beats % 4 == 0, PIECES.index("kick"), PIECES.index("snare"))
    return Groove(120.0, 4, np.column_stack([beats, piece, np.full(32, 100.0)]))


def test_a_sum_of_one_sound_is_its_spectrogram():
    samples = 0.3 * np.random.default_rng(0).standard_normal(20_000)
    expected = compute_log_mel(Signal(samples[None].astype(np.float32))).values
    np.testing.assert_allclose(to_log_mel(to_summable(samples)), expected, atol=1e-4)


def test_swing_moves_the_halves_and_leaves_beats_and_thirds():
    grid = Grid("4/4", 120, np.random.default_rng(0))
    grid.beat_s, grid.swing, grid.swung_part = np.arange(100) * 0.5, 0.64, 1.0
    np.testing.assert_allclose(grid.at(np.array([0, TICKS, TICKS + 6, TICKS + 4])), [0, 0.5, 0.82, 0.5 + 0.5 / 3])


@pytest.mark.parametrize(("meter", "beats"), [("3/4", 3), ("4/4", 4), ("5/4", 5)])
def test_a_groove_is_cut_to_another_meter(groove, meter, beats):
    rng = np.random.default_rng(0)
    grid = Grid(meter, 120, rng)
    grid.beat_s = np.arange(len(grid.beat_s)) * 0.5
    time_s, piece, _ = play_groove(grid, draw_form(meter, grid.bars, rng), groove, rng)
    kicks = np.sort(time_s[piece == PIECES.index("kick")])
    assert np.isin(np.arange(0, 4) * beats * 0.5, kicks).all()


@pytest.mark.parametrize("seed", range(40))
def test_a_varied_groove_keeps_its_grid_and_a_quarter_of_its_hits(groove, seed):
    varied = vary_groove(groove, np.random.default_rng(seed)).hits
    assert np.isin(varied[:, 0], groove.hits[:, 0]).all()
    assert len(varied) >= 0.25 * 0.4 * len(groove.hits)
    assert ((varied[:, 2] >= 1) & (varied[:, 2] <= 127)).all()


def test_varying_changes_what_is_played_and_not_the_groove_itself(groove):
    before = groove.hits.copy()
    others = [vary_groove(groove, np.random.default_rng(seed)).hits for seed in range(20)]
    np.testing.assert_array_equal(groove.hits, before)
    assert sum(other.shape != before.shape or (other != before).any() for other in others) >= 10


@pytest.mark.parametrize("menu", MENUS.values(), ids=MENUS.keys())
@pytest.mark.parametrize("seed", range(12))
def test_a_clip_has_beats_only_where_it_sounds(bank, groove, seed, menu):
    clip = make_clip(bank, [groove], np.random.default_rng(seed), menu)
    assert clip.drums.shape == clip.band.shape == (MEL_BANDS, FRAMES)
    assert (clip.meter == "") == (len(clip.beat_s) == 0)
    level = (clip.drums + clip.band).sum(axis=0)
    for beat_s in clip.beat_s[[0, -1]] if len(clip.beat_s) else ():
        assert level[max(0, round(100 * beat_s) - 30) : round(100 * beat_s) + 30].any()
    assert (np.diff(clip.beat_s) > 0).all()
    assert (clip.beat_s < CLIP_S).all()


@pytest.mark.parametrize("menu", MENUS.values(), ids=MENUS.keys())
def test_the_shares_of_a_menu_are_whole(menu):
    for shares in (menu.kinds.values(), menu.meters_played.values(), menu.meters_made.values(), menu.styles):
        assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(6))
def test_slow_songs_are_slow(bank, groove, seed):
    menu = Menu(kinds={"pattern+band": 1.0}, meters_played={}, meters_made={"4/4": 1.0}, unsteady=1e-9, slow=1.0)
    clip = make_clip(bank, [groove], np.random.default_rng(seed), menu)
    assert 54 <= 60 / np.median(np.diff(clip.beat_s)) <= 96


def test_a_pick_up_is_played_by_the_tune_alone_before_the_first_downbeat(bank, groove):
    menu = Menu(kinds={"pattern+band": 1.0}, meters_played={}, meters_made={"3/4": 1.0}, unsteady=1e-9, pick_ups=1.0)
    before = 0.0
    for seed in range(8):
        clip = make_clip(bank, [groove], np.random.default_rng(seed), menu)
        downbeat = round(100 * clip.beat_s[clip.position == 1][0])
        assert not clip.drums[:, : downbeat - 12].any()
        before += clip.band[:, : downbeat - 12].sum()
    assert before > 0


def test_the_same_number_gives_the_same_clip(bank, groove):
    first, second = (make_clip(bank, [groove], np.random.default_rng([2, 5])) for _ in range(2))
    np.testing.assert_array_equal(first.drums, second.drums)
    np.testing.assert_array_equal(first.band, second.band)


@pytest.mark.parametrize("seed", range(10))
def test_what_has_no_pulse_is_finite(bank, seed):
    for part in make_pulseless(bank, np.random.default_rng(seed)):
        assert np.isfinite(part).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_mix_is_a_log_mel_spectrogram(seed):
    rng = np.random.default_rng(seed)
    drums, band = rng.random((2, MEL_BANDS, 400), np.float32)
    mel = mix(drums, band, rng)
    assert mel.dtype == np.float32
    assert np.isfinite(mel).all()
    assert (mel >= 0).all()


def test_a_mix_without_chance_is_the_sum():
    drums, band = np.random.default_rng(0).random((2, MEL_BANDS, 40), np.float32)
    np.testing.assert_allclose(mix(drums, band, None), to_log_mel(drums + band), atol=1e-5)
