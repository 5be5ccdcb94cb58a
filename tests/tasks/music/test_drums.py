import numpy as np
import pytest

from tasks.music.drums import (
    INSTRUMENTS,
    NOTES_OF_INSTRUMENT,
    PeakParams,
    detect_hits,
    instrument_of,
    midi_note_of,
    pick_hits,
)
from tasks.music.signals import HOP_S, SAMPLE_RATE_HZ, LogMel, Signal, compute_log_mel


def bumps(frames: int, peaks: dict[int, list[float]]) -> np.ndarray:
    """Activations with a bump of width 2 frames and height 0.9 at the given frames of each row."""
    at = np.arange(frames)
    rows = [sum((0.9 * np.exp(-((at - p) ** 2) / 2) for p in peaks.get(r, [])), np.zeros(frames)) for r in range(3)]
    return np.stack(rows)


def noise_burst(seed: int, duration_s: float, low_hz: float, high_hz: float, at_s: float = 1.0) -> np.ndarray:
    """Band-passed noise that starts at `at_s` and decays in 50 ms, in 2 s of silence."""
    count = round(duration_s * SAMPLE_RATE_HZ)
    noise = np.random.default_rng(seed).standard_normal(count)
    spectrum = np.fft.rfft(noise)
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    attack = np.minimum(1.0, np.arange(count) / (0.004 * SAMPLE_RATE_HZ))
    burst = np.fft.irfft(spectrum, count) * attack * np.exp(-np.arange(count) / (0.05 * SAMPLE_RATE_HZ))
    samples = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    start = round(at_s * SAMPLE_RATE_HZ)
    samples[start : start + count] = 0.5 * burst / np.abs(burst).max()
    return samples


def log_mel_of(samples: np.ndarray) -> LogMel:
    return compute_log_mel(Signal(samples[None].astype(np.float32)))


@pytest.mark.parametrize("instrument", NOTES_OF_INSTRUMENT)
def test_the_written_note_reads_back_as_its_instrument(instrument):
    assert instrument_of(midi_note_of(instrument)) == instrument


def test_a_cowbell_is_no_instrument():
    assert instrument_of(56) is None


def test_a_peak_between_frames_gets_the_time_between_them():
    hits = pick_hits(bumps(100, {0: [40.3]}))
    assert hits.time_s == pytest.approx([40.3 * HOP_S], abs=0.001)


def test_simultaneous_hits_stand_in_the_order_of_the_instruments():
    hits = pick_hits(bumps(100, {2: [50], 0: [50], 1: [50]}))
    assert hits.instrument.tolist() == list(INSTRUMENTS)


def test_hits_ascend_in_time():
    hits = pick_hits(bumps(300, {0: [200, 20], 1: [100], 2: [150, 60]}))
    assert hits.instrument.tolist() == ["kick", "hihat", "snare", "hihat", "kick"]
    assert (np.diff(hits.time_s) > 0).all()


def test_nothing_below_the_threshold_is_a_hit():
    assert len(pick_hits(bumps(100, {0: [50]}), params=PeakParams(thresholds=(0.95, 0.95, 0.95)))) == 0


def test_a_plateau_is_one_hit():
    activations = np.zeros((3, 100))
    activations[0, 40:43] = 0.9
    assert len(pick_hits(activations)) == 1


def test_of_two_peaks_closer_than_the_gap_the_greater_stays():
    activations = bumps(100, {0: [50]})
    activations[0, 53] = 0.95
    assert pick_hits(activations, params=PeakParams(min_gap_s=0.05)).time_s == pytest.approx([53 * HOP_S], abs=0.005)


def test_velocity_and_confidence_stay_in_their_ranges():
    activations = np.array([[0, 1.0, 0, 0, 0, 0], [0, 0, 0, 0.5, 0, 0], [0.0] * 6])
    hits = pick_hits(activations, velocities=2 * activations)
    assert hits.velocity.tolist() == [127, 127]
    assert hits.confidence.tolist() == [1.0, 0.5]


def test_no_frames_have_no_hits():
    assert len(pick_hits(np.zeros((3, 0)))) == 0


def test_silence_has_no_hits():
    assert len(detect_hits(log_mel_of(np.zeros(SAMPLE_RATE_HZ)))) == 0


def test_a_steady_tone_has_no_hits_between_its_ends():
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    times_s = detect_hits(log_mel_of(tone)).time_s
    assert not ((times_s > 0.05) & (times_s < 1.95)).any()


@pytest.mark.parametrize(
    ("instrument", "band_hz"), [("kick", (30, 120)), ("snare", (150, 7_000)), ("hihat", (7_000, 15_000))]
)
def test_a_burst_in_a_drums_band_is_a_hit_of_it_at_its_time(instrument, band_hz):
    hits = detect_hits(log_mel_of(noise_burst(1, 0.2, *band_hz)))
    assert np.abs(hits.time_s[hits.instrument == instrument] - 1.0).min() < 0.015


def test_a_louder_hit_has_a_greater_velocity():
    soft, loud = (detect_hits(log_mel_of(gain * noise_burst(1, 0.2, 7_000, 15_000))) for gain in (0.05, 0.5))
    assert soft.velocity.max() < loud.velocity.max()


def test_the_drum_stem_is_read_where_there_is_one():
    hit, nothing = log_mel_of(noise_burst(1, 0.2, 30, 120)), log_mel_of(np.zeros(2 * SAMPLE_RATE_HZ))
    assert len(detect_hits(hit, drums=nothing)) == 0
