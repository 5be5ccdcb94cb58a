from dataclasses import replace

import numpy as np
import pytest

from tasks.music.beats import BeatParams, Rhythm, no_pulse, tempo_between, track_beats
from tasks.music.key import CHROMA_HOP_S, Chroma
from tasks.music.onsets import Onsets
from tasks.music.pulse import Pulse
from tests.known_pulses import beat_curve, hear_bars


def test_a_section_has_the_tempo_of_its_own_beats():
    beat_s = np.concatenate([np.arange(40) * 0.5, 20 + np.arange(40) * 0.6])
    rhythm = Rhythm(beat_s, np.ones(80, np.int64), tempo_bpm=110.0)
    assert tempo_between(rhythm, 0, 19.9) == pytest.approx(120)
    assert tempo_between(rhythm, 20, 44) == pytest.approx(100)
    assert tempo_between(rhythm, 0, 2) == 110.0
    assert tempo_between(no_pulse(), 0, 20) is None


def test_no_pulse_is_empty():
    assert len(no_pulse().time_s) == len(no_pulse().beat_in_bar) == 0


@pytest.mark.parametrize("beats_per_bar", [3, 4, 5])
def test_the_downbeats_choose_the_meter(beats_per_bar):
    beat_s = np.arange(0.5, 29, 0.5)
    rhythm = track_beats(hear_bars(beat_s, beat_s[::beats_per_bar]), np.zeros(3_000, np.float32))
    assert rhythm.time_signature == f"{beats_per_bar}/4"
    assert rhythm.tempo_bpm == pytest.approx(120, rel=0.01)


def test_the_groove_is_the_reading_that_its_own_weights_of_the_meters_choose():
    beat_s = np.arange(0.5, 29, 0.5)
    weak = hear_bars(beat_s, beat_s[::3])
    weak = replace(weak, downbeat=0.3 * weak.downbeat + 0.7 * beat_curve(beat_s[::4], 30))
    other_way = BeatParams(groove_meter_weights=(9.0, -9.0, -9.0, -9.0))
    rhythm = track_beats(weak, np.zeros(3_000, np.float32), params=other_way)
    assert (rhythm.time_signature, rhythm.groove.time_signature) == ("4/4", "3/4")
    np.testing.assert_allclose(rhythm.groove.time_s, rhythm.time_s)


def test_drums_are_folded_in_three_where_that_is_beyond_doubt():
    beat_s = np.arange(0.5, 29, 0.5)
    rhythm = track_beats(hear_bars(beat_s, beat_s[::3]), np.zeros(3_000, np.float32))
    assert rhythm.time_signature == "3/4"
    assert rhythm.groove is None


def test_beats_in_three_parts_make_six_eight():
    beat_s = np.arange(0.5, 29, 60 / 76)
    parts_s = np.concatenate([beat_s + part * 20 / 76 for part in (1, 2)])
    rhythm = track_beats(hear_bars(beat_s, beat_s[::2], parts_s), np.zeros(3_000, np.float32))
    assert rhythm.time_signature == "6/8"
    assert rhythm.tempo_bpm == pytest.approx(76, rel=0.01)


def test_where_the_network_is_in_doubt_chords_say_where_the_bar_begins():
    beat_s = np.arange(0.5, 29, 0.5)
    pulse = hear_bars(beat_s, beat_s[::2])  # the first and the third beat of each bar sound alike
    values = np.zeros((12, 150), np.float32)
    chord = ((np.arange(150) * CHROMA_HOP_S - beat_s[2]) // 2.0).astype(int)  # of four beats, from the third beat on
    values[chord % 12, np.arange(150)] = 1.0
    rhythm = track_beats(pulse, np.zeros(3_000, np.float32), Chroma(values, tonality=0.8))
    downbeats_s = rhythm.time_s[rhythm.beat_in_bar == 1]
    assert rhythm.time_signature == "4/4"
    assert len(downbeats_s) >= 13
    np.testing.assert_allclose((downbeats_s - beat_s[2] + 0.1) % 2.0, 0.1, atol=0.05)


def test_a_short_loop_without_a_pulse_has_a_groove_and_no_tempo():
    unsure = Pulse(*(np.full(shape, 0.02, np.float32) for shape in ((200,), (200,), (6, 200), (50, 200))))
    strokes_s = np.add.outer([0, 2], [0, 0.25, 0.5, 0.75, 1, 1.25, 1.375, 1.5, 1.75]).ravel()
    onsets = Onsets(strokes_s, np.full(18, 0.3, np.float32))
    rhythm = track_beats(unsure, np.zeros(400, np.float32), onsets=onsets)
    assert (len(rhythm.time_s), rhythm.tempo_bpm) == (0, None)
    assert rhythm.groove.tempo_bpm == pytest.approx(120, rel=0.01)
    assert rhythm.groove.beat_in_bar.tolist() == [1, 2, 3, 4] * 2


def test_other_likely_ways_to_count_are_mentioned():
    beat_s = np.arange(0.5, 29, 0.5)
    both = hear_bars(beat_s, beat_s[::4])
    both = replace(both, beat=np.maximum(0.6 * both.beat, beat_curve(beat_s[::2], 30)))
    rhythm = track_beats(both, np.zeros(3_000, np.float32), params=BeatParams(min_other=0.001))
    tempi_bpm = [rhythm.tempo_bpm, *(other.tempo_bpm for other in rhythm.others)]
    assert any(
        tempi_bpm[0] / tempo == pytest.approx(factor, rel=0.02) for tempo in tempi_bpm[1:] for factor in (0.5, 2)
    )
    assert len(rhythm.others) <= BeatParams().most_others
    assert all(len(other.time_s) and not other.others for other in rhythm.others)


def test_what_is_beyond_doubt_is_counted_in_one_way():
    beat_s = np.arange(0.5, 29, 0.5)
    heard = hear_bars(beat_s, beat_s[::4])
    assert track_beats(heard, np.zeros(3_000, np.float32), params=BeatParams(min_other=0.05)).others == ()
    (half,) = track_beats(heard, np.zeros(3_000, np.float32)).others
    assert half.tempo_bpm == pytest.approx(60, rel=0.01)


def test_six_eight_is_no_other_way_to_count_triplets():
    beat_s = np.arange(0.5, 29, 60 / 76)
    parts_s = np.concatenate([beat_s + part * 20 / 76 for part in (1, 2)])
    pulse = hear_bars(beat_s, beat_s[::2], parts_s)
    rhythm = track_beats(pulse, np.zeros(3_000, np.float32), params=BeatParams(min_other=0.0, most_others=40))
    counted = [(round(other.tempo_bpm), other.time_signature) for other in (rhythm, *rhythm.others)]
    assert counted[0] == (76, "6/8")
    assert (76, "4/4") not in counted
