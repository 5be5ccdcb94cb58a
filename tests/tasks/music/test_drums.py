import numpy as np
import pytest

from tasks.music.drums import (
    INSTRUMENTS,
    NOTES_OF_INSTRUMENT,
    Hits,
    PeakParams,
    doubt_lone_cymbals,
    drop_stray_hits,
    expect_hits,
    instrument_of,
    measure_presence,
    midi_note_of,
    pick_faint_hits,
    pick_hits,
)
from tasks.music.signals import HOP_S


def bumps(frames: int, peaks: dict[int, list[float]]) -> np.ndarray:
    """Activations with a bump of width 2 frames and height 0.9 at the given frames of each row."""
    at = np.arange(frames)
    return np.stack(
        [
            sum((0.9 * np.exp(-((at - p) ** 2) / 2) for p in peaks.get(row, [])), np.zeros(frames))
            for row in range(len(INSTRUMENTS))
        ]
    )


@pytest.mark.parametrize("instrument", NOTES_OF_INSTRUMENT)
def test_the_written_note_reads_back_as_its_instrument(instrument):
    assert instrument_of(midi_note_of(instrument)) == instrument


def test_a_cowbell_is_no_instrument():
    assert instrument_of(56) is None


def test_a_peak_between_frames_gets_the_time_between_them():
    hits = pick_hits(bumps(100, {0: [40.3]}))
    assert hits.time_s == pytest.approx([40.3 * HOP_S], abs=0.001)


def test_simultaneous_hits_stand_in_the_order_of_the_instruments():
    hits = pick_hits(bumps(100, {row: [50] for row in (5, 2, 0, 4, 3, 1)}))
    assert hits.instrument.tolist() == list(INSTRUMENTS)


def test_hits_ascend_in_time():
    hits = pick_hits(bumps(300, {0: [200, 20], 1: [100], 2: [150, 60]}))
    assert hits.instrument.tolist() == ["kick", "hihat", "snare", "hihat", "kick"]
    assert (np.diff(hits.time_s) > 0).all()


def test_nothing_below_the_threshold_is_a_hit():
    assert len(pick_hits(bumps(100, {0: [50]}), params=PeakParams(thresholds=(0.95,) * len(INSTRUMENTS)))) == 0


def test_a_plateau_is_one_hit():
    activations = np.zeros((len(INSTRUMENTS), 100))
    activations[0, 40:43] = 0.9
    assert len(pick_hits(activations)) == 1


def test_of_two_peaks_closer_than_the_gap_the_greater_stays():
    activations = bumps(100, {0: [50]})
    activations[0, 53] = 0.95
    assert pick_hits(activations, params=PeakParams(min_gap_s=0.05)).time_s == pytest.approx([53 * HOP_S], abs=0.005)


def test_velocity_and_confidence_stay_in_their_ranges():
    activations = np.zeros((len(INSTRUMENTS), 6))
    activations[0, 1], activations[1, 3] = 1.0, 0.5
    hits = pick_hits(activations, velocities=2 * activations)
    assert hits.velocity.tolist() == [127, 127]
    assert hits.confidence.tolist() == [1.0, 0.5]


def test_no_frames_have_no_hits():
    assert len(pick_hits(np.zeros((len(INSTRUMENTS), 0)))) == 0


def kicks(times_s: list[float], confidence: float) -> Hits:
    count = len(times_s)
    return Hits(
        np.array(times_s, float),
        np.full(count, "kick"),
        np.full(count, 100),
        np.full(count, confidence, np.float32),
    )


def test_a_lone_hit_in_long_music_is_dropped():
    assert len(drop_stray_hits(kicks([30.0], 0.9), duration_s=60.0)) == 0


def test_faint_hits_are_dropped_where_as_many_sure_ones_stay():
    times_s = list(np.arange(0, 60, 0.7))
    assert len(drop_stray_hits(kicks(times_s, 0.6), duration_s=60.0)) == 0
    assert len(drop_stray_hits(kicks(times_s, 0.95), duration_s=60.0)) == len(times_s)


def test_the_first_and_the_last_hit_of_a_drummed_passage_stay():
    times_s = list(np.arange(20, 40, 0.5))
    assert drop_stray_hits(kicks(times_s, 0.9), duration_s=60.0).time_s.tolist() == times_s


def test_one_sure_hit_is_enough_for_a_clip_of_a_second():
    assert len(drop_stray_hits(kicks([0.2], 0.9), duration_s=0.8)) == 1


def test_no_hits_stay_none():
    assert len(drop_stray_hits(kicks([], 0.9), duration_s=60.0)) == 0


def test_few_hits_stay_where_the_drum_stem_is_most_of_the_sound():
    lone = kicks([30.0, 50.0], 0.6)
    assert drop_stray_hits(lone, 60.0, presence_db=np.array([-3.0, -12.0])).time_s.tolist() == [30.0]


def test_presence_is_the_level_of_the_drums_beside_the_mixture_around_a_moment():
    mixture, drums = np.full(6_000, 1.0), np.full(6_000, 0.1)
    drums[3_000:] = 1.0
    np.testing.assert_allclose(measure_presence(mixture, drums, np.array([10.0, 50.0])), [-10.0, 0.0], atol=1e-3)


def test_silence_has_no_presence():
    silence = np.zeros(1_000)
    assert (measure_presence(silence, silence, np.array([2.0, 5.0])) < -50).all()
    assert len(measure_presence(silence, silence, np.zeros(0))) == 0


def test_faint_hits_have_their_activation_for_confidence():
    activations = bumps(100, {0: [30], 1: [60]})
    activations[1] *= 0.3
    faint = pick_faint_hits(activations, np.full(activations.shape, 0.5))
    assert faint.instrument.tolist() == ["kick", "snare"]
    assert faint.confidence.tolist() == pytest.approx([0.9, 0.27], abs=0.01)
    assert expect_hits(faint).velocity.tolist() == pytest.approx([0.9 * 64, 0.27 * 64], rel=0.02)


def test_cymbals_with_no_kick_or_snare_in_reach_are_doubted():
    time_s = np.array([0.0, 1.0, 9.0, 9.5])
    instrument = np.array(["kick", "hihat", "ride", "hihat"])
    hits = Hits(time_s, instrument, np.full(4, 90), np.full(4, 0.8, np.float32))
    doubted = doubt_lone_cymbals(hits)
    assert doubted.confidence.tolist() == pytest.approx([0.8, 0.8, 0.4, 0.4])
    assert doubted.confidence.dtype == np.float32
    assert doubted.time_s.tolist() == hits.time_s.tolist()


def test_hihats_between_a_kick_and_a_far_snare_are_not_doubted():
    hits = Hits(
        np.array([0.0, 7.0, 30.0]), np.array(["hihat", "snare", "kick"]), np.full(3, 90), np.full(3, 0.8, np.float32)
    )
    assert doubt_lone_cymbals(hits).confidence.tolist() == pytest.approx([0.8] * 3)


def test_doubt_of_no_hits_is_none():
    assert len(doubt_lone_cymbals(kicks([], 0.9))) == 0
