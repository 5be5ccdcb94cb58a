import numpy as np
import pytest

from tasks.music.peaks import HOP_S, PITCH_BITS, STEPS_A_SEMITONE, PeakStream
from tasks.music.signals import SAMPLE_RATE_HZ


def play(seconds=12, seed=1, ratio=1.0):
    """Random notes of a quarter second with four harmonics, `ratio` times as fast and as high, float32 (2, n)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(SAMPLE_RATE_HZ / 4 / ratio)) / SAMPLE_RATE_HZ
    notes = []
    for _ in range(seconds * 4):
        hz = ratio * 220 * 2 ** (rng.integers(0, 30) / 12)
        notes.append(np.exp(-4 * ratio * time_s) * sum(np.sin(2 * np.pi * hz * k * time_s) / k for k in range(1, 5)))
    return np.tile(0.3 * np.concatenate(notes), (2, 1)).astype(np.float32)


def find_peaks(samples, block=10 * SAMPLE_RATE_HZ):
    stream = PeakStream()
    for start in range(0, samples.shape[1], block):
        stream.push(samples[:, start : start + block])
    return stream.finish().items


def read(items):
    """Times in seconds and pitches in semitones."""
    return (items >> PITCH_BITS) * HOP_S, (items & ((1 << PITCH_BITS) - 1)) / STEPS_A_SEMITONE


def test_blocks_of_any_length_give_the_same_peaks():
    samples = np.tile(play(), (1, 8))  # more than one piece
    assert np.array_equal(find_peaks(samples), find_peaks(samples, block=100_003))


def test_peaks_come_in_the_order_of_time_and_lie_within_the_sound():
    time_s, _ = read(find_peaks(play()))
    assert len(time_s) > 20
    assert (np.diff(time_s) >= 0).all()
    assert time_s[-1] < 12.1


def test_a_faster_recording_has_its_peaks_earlier_and_higher():
    slow_s, slow = read(find_peaks(play(ratio=1.0)))
    fast_s, fast = read(find_peaks(play(ratio=1.06)))
    near = (np.abs(fast_s[:, None] * 1.06 - slow_s) < 0.06) & (np.abs(fast[:, None] - 1.01 - slow) < 0.25)
    assert near.any(axis=1).mean() > 0.6


@pytest.mark.parametrize("samples", [np.zeros((2, SAMPLE_RATE_HZ), np.float32), np.zeros((2, 0), np.float32)])
def test_silence_has_no_peaks(samples):
    assert len(find_peaks(samples)) == 0
