import numpy as np
import pytest

from tasks.music.loops import LoopParams, find_loop, score_places
from tasks.music.onsets import NO_ONSETS, Onsets

ROCK = (0, 0.5, 1, 1.5, 2, 2.5, 2.75, 3, 3.5)  # beats of a bar


def play_bars(tempo_bpm: float, bars: int, start_s: float = 0.0, places=ROCK) -> Onsets:
    beats = np.concatenate([np.array(places) + 4 * bar for bar in range(bars)])
    return Onsets(start_s + beats * 60 / tempo_bpm, np.full(len(beats), 0.3, np.float32))


@pytest.mark.parametrize("tempo_bpm", [80, 97, 120, 140])
def test_two_bars_cut_to_their_length_have_their_tempo(tempo_bpm):
    loop = find_loop(play_bars(tempo_bpm, 2), duration_s=8 * 60 / tempo_bpm)
    assert loop.tempo_bpm == pytest.approx(tempo_bpm, rel=0.01)
    assert loop.beat_in_bar.tolist() == [1, 2, 3, 4] * 2
    np.testing.assert_allclose(loop.time_s, np.arange(8) * 60 / tempo_bpm, atol=0.03)


def test_what_rings_after_the_last_bar_makes_no_other_bar():
    loop = find_loop(play_bars(110, 1), duration_s=5.3)
    assert loop.tempo_bpm == pytest.approx(110, rel=0.02)
    assert len(loop.time_s) == 4


def test_the_length_of_a_file_that_is_not_played_out_says_nothing():
    strokes = play_bars(110, 1, places=(0, 0.6, 1.1, 1.6, 2.3))  # of no sure tempo
    tempi_bpm = {find_loop(strokes, duration_s).tempo_bpm for duration_s in (4.6, 5.4, 6.2)}
    assert len(tempi_bpm) == 1


def test_a_loop_begins_at_its_first_onset():
    loop = find_loop(play_bars(100, 2, start_s=0.3), duration_s=6.0)
    assert loop.time_s[0] == pytest.approx(0.3, abs=0.025)


def test_a_stroke_that_anticipates_the_next_bar_makes_none():
    onsets = play_bars(120, 1, places=(*ROCK, 3.97))
    assert len(find_loop(onsets, duration_s=4.0).time_s) == 4


@pytest.mark.parametrize("onsets", [NO_ONSETS, play_bars(120, 1, places=(0, 1, 2)), play_bars(120, 8)])
def test_nothing_few_onsets_and_long_music_are_no_loop(onsets):
    loop = find_loop(onsets, duration_s=20.0)
    assert (len(loop.time_s), loop.tempo_bpm, loop.certainty) == (0, None, 0.0)


def test_onsets_at_any_times_are_hardly_certain():
    rng = np.random.default_rng(3)
    certainty = []
    for _ in range(20):
        times = np.sort(rng.uniform(0, 5, 20))
        certainty.append(find_loop(Onsets(times, np.full(20, 0.3, np.float32)), duration_s=5.2).certainty)
    assert np.median(certainty) < 0.4 < find_loop(play_bars(120, 2), duration_s=4.0).certainty


def test_a_loop_of_plain_eighths_could_be_counted_twice_as_fast():
    loop = find_loop(play_bars(120, 2, places=np.arange(8) / 2), duration_s=4.0)
    tempi_bpm = [loop.tempo_bpm, *(other.tempo_bpm for other in loop.others)]
    assert sorted(round(tempo / 60) for tempo in tempi_bpm)[:2] == [1, 2]
    assert loop.certainty >= max(other.certainty for other in loop.others)
    assert loop.certainty + sum(other.certainty for other in loop.others) <= 1.0


def test_hardly_likely_ways_to_count_a_loop_are_not_mentioned():
    assert find_loop(play_bars(120, 2), duration_s=4.0, params=LoopParams(min_other=0.2)).others == ()


def test_onsets_anywhere_score_nothing_on_average():
    anywhere = np.random.default_rng(0).uniform(0, 100, 20_000)
    assert np.exp(score_places(anywhere, 0.5)).mean() == pytest.approx(1, abs=0.03)
