import numpy as np
import pytest

from tasks.music.feel import Feel, measure_feel

BEATS = 32


def make_beats(tempo_bpm=120.0, beats=BEATS, meter=4):
    return 0.5 + np.arange(beats) * 60 / tempo_bpm, np.arange(beats) % meter + 1


def make_eighths(offbeat=0.5, late_s=0.0, jitter_s=0.0, tempo_bpm=120.0, beats=BEATS):
    places = np.sort(np.concatenate([np.arange(beats - 1), np.arange(beats - 1) + offbeat]))
    return 0.5 + places * 60 / tempo_bpm + late_s + np.random.default_rng(0).normal(0, jitter_s, len(places))


def feel_of(note_s, beats=None, meter="4/4", start_s=0.0, end_s=100.0, leading_s=None):
    return measure_feel(note_s, *(beats or make_beats()), start_s, end_s, meter, leading_s)


@pytest.mark.parametrize("offbeat, ratio", [(0.5, 1.0), (0.6, 1.5), (2 / 3, 2.0)])
def test_swing_is_the_first_half_over_the_second(offbeat, ratio):
    assert feel_of(make_eighths(offbeat)).swing_ratio == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("offbeat", [0.5, 2 / 3])
def test_notes_exactly_on_the_grid_have_no_microtiming(offbeat):
    feel = feel_of(make_eighths(offbeat))
    assert feel.microtiming_ms == pytest.approx(0.0, abs=0.01)
    assert feel.microtiming_spread_ms == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("late_s", [-0.012, 0.008, 0.02])
@pytest.mark.parametrize("heard_late_s", [0.0, 0.01])
def test_notes_behind_the_drums_are_late_by_as_many_milliseconds(late_s, heard_late_s):
    beat_s, position = make_beats()
    sixteenths = 0.5 + np.arange(4 * (BEATS - 2)) * 0.125 + late_s
    feel = feel_of(sixteenths, (beat_s + heard_late_s, position), leading_s=make_eighths())
    assert feel.microtiming_ms == pytest.approx(1000 * late_s, abs=0.1)
    assert feel.swing_ratio == pytest.approx(1.0, abs=0.01)


def test_drums_whose_halves_are_late_swing_and_are_not_late():
    feel = feel_of(make_eighths(0.53))
    assert feel.swing_ratio == pytest.approx(0.53 / 0.47, abs=0.01)
    assert feel.microtiming_ms == pytest.approx(0.0, abs=0.1)


def test_late_sixteenths_between_straight_halves_are_late():
    straight = make_eighths(0.5)
    between = straight[:-1] + 0.137
    feel = feel_of(np.sort(np.concatenate([straight, between])))
    assert feel.microtiming_ms == pytest.approx(6.0, abs=0.3)


def test_beats_that_are_heard_late_do_not_make_the_drums_early():
    beat_s, position = make_beats()
    assert feel_of(make_eighths(), (beat_s + 0.008, position)).microtiming_ms == pytest.approx(0.0, abs=0.1)


def test_the_spread_is_that_of_the_playing():
    feel = feel_of(make_eighths(jitter_s=0.006, beats=200), make_beats(beats=200))
    assert feel.microtiming_spread_ms == pytest.approx(6.0, abs=1.0)


def test_beats_that_are_heard_a_little_off_do_not_spread_the_notes():
    beat_s, position = make_beats(beats=200)
    heard_s = beat_s + np.random.default_rng(1).normal(0, 0.006, len(beat_s))
    assert feel_of(make_eighths(beats=200), (heard_s, position)).microtiming_spread_ms < 3.5


def test_a_change_of_tempo_is_not_microtiming():
    beat_s = 0.5 + np.concatenate([[0.0], np.cumsum(60 / np.linspace(90, 140, 80))])
    halves_s = (beat_s[:-1] + beat_s[1:]) / 2
    feel = feel_of(np.sort(np.concatenate([beat_s[:-1], halves_s])), (beat_s, np.arange(81) % 4 + 1))
    assert abs(feel.microtiming_ms) < 0.5
    assert feel.microtiming_spread_ms < 1.0


def test_sixteenths_of_straight_music_do_not_swing():
    sixteenths = 0.5 + np.arange(4 * (BEATS - 1)) * 0.125
    assert feel_of(sixteenths).swing_ratio == pytest.approx(1.0, abs=0.01)


def test_quarters_alone_have_no_swing_but_microtiming():
    feel = feel_of(0.5 + np.arange(BEATS - 1) * 0.5 + 0.005, leading_s=make_eighths())
    assert feel.swing_ratio is None
    assert feel.microtiming_ms == pytest.approx(5.0, abs=0.1)


def test_beats_in_three_parts_do_not_swing():
    beat_s, position = make_beats(70.0, meter=2)
    thirds_s = 0.5 + np.arange(3 * (BEATS - 1)) * 60 / 70 / 3
    feel = feel_of(thirds_s, (beat_s, position), "6/8")
    assert feel.swing_ratio is None
    assert feel.microtiming_ms == pytest.approx(0.0, abs=0.01)


def test_few_notes_have_no_feel():
    assert feel_of(make_eighths()[:7]) == Feel()


def test_few_beats_have_no_feel():
    assert feel_of(make_eighths(), make_beats(beats=6)) == Feel()
    assert feel_of(make_eighths(), (np.zeros(0), np.zeros(0, int))) == Feel()


def test_notes_of_another_division_have_no_feel():
    fifths_s = 0.5 + np.arange(5 * (BEATS - 1)) * 0.1
    assert feel_of(fifths_s) == Feel()


def test_only_the_section_counts():
    beats = make_beats(beats=64)
    notes = np.concatenate([make_eighths(0.5), make_eighths(2 / 3) + BEATS * 0.5])
    assert feel_of(notes, beats, end_s=0.5 + BEATS * 0.5).swing_ratio == pytest.approx(1.0, abs=0.02)
    assert feel_of(notes, beats, start_s=0.5 + BEATS * 0.5).swing_ratio == pytest.approx(2.0, abs=0.02)
