import numpy as np
import pyloudnorm
import pytest

from tasks.music.quality import LevelStream, score_quality
from tasks.music.signals import SAMPLE_RATE_HZ


def measure(samples, block=100_000):
    stream = LevelStream()
    for start in range(0, samples.shape[1], block):
        stream.push(samples[:, start : start + block])
    return stream.finish()


def beats_of_noise(seconds=6, bandwidth_hz=20_000, seed=0):
    """Decaying noise bursts over two tones, float32 (2, n): broad and lively, as music is."""
    rng = np.random.default_rng(seed)
    count = seconds * SAMPLE_RATE_HZ
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    noise = rng.normal(0, 1, (2, count)) * np.exp(-8 * (time_s % 0.5))
    spectrum = np.fft.rfft(noise, axis=1)
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    spectrum *= np.where(hz < bandwidth_hz, 1 / np.sqrt(1 + hz / 300), 0.0)
    tones = 0.1 * np.sin(2 * np.pi * 220 * time_s) * np.exp(-3 * (time_s % 1.0))
    return (0.3 * np.fft.irfft(spectrum, count, axis=1) + tones).clip(-0.9, 0.9).astype(np.float32)


@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_loudness_agrees_with_pyloudnorm(gain):
    samples = beats_of_noise() * np.float32(gain)
    samples[:, SAMPLE_RATE_HZ * 4 :] *= np.float32(0.01)  # gated away
    expected = pyloudnorm.Meter(SAMPLE_RATE_HZ).integrated_loudness(samples.T.astype(np.float64))
    assert measure(samples).loudness_lufs == pytest.approx(expected, abs=0.1)


def test_full_scale_sine_at_997_hz_on_one_channel_is_minus_3_lufs():
    time_s = np.arange(SAMPLE_RATE_HZ * 5) / SAMPLE_RATE_HZ
    samples = np.stack([np.sin(2 * np.pi * 997 * time_s), np.zeros_like(time_s)]).astype(np.float32)
    assert measure(samples).loudness_lufs == pytest.approx(-3.01, abs=0.05)


def test_blocks_of_any_size_give_the_same_levels():
    samples = np.clip(beats_of_noise(4) * 8, -1, 1)
    one, other = measure(samples, block=samples.shape[1]), measure(samples, block=1_001)
    for name in ("loudness_lufs", "peak_db", "clipping_ratio", "silence_ratio", "dc_offset", "bandwidth_hz"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-6), name


def test_a_flat_top_is_clipping_and_a_single_peak_is_not():
    samples = np.zeros((2, 1000), np.float32)
    samples[0, 100] = samples[1, 500:502] = 1.0
    assert measure(samples).clipping_ratio == 0
    samples[1, 500:510] = 1.0
    assert measure(samples).clipping_ratio == pytest.approx(0.01)


def test_a_flat_top_across_a_block_border_is_counted_once():
    samples = np.zeros((2, 1000), np.float32)
    samples[0, 98:110] = -1.0
    assert measure(samples, block=100).clipping_ratio == pytest.approx(0.012)


def test_bandwidth_is_where_the_spectrum_ends():
    assert measure(beats_of_noise(bandwidth_hz=3_400)).bandwidth_hz == pytest.approx(3_400, abs=150)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.0])
def test_silence_has_no_loudness_and_no_quality(seconds):
    levels = measure(np.zeros((2, int(seconds * SAMPLE_RATE_HZ)), np.float32))
    assert levels.loudness_lufs is None
    assert levels.peak_db is None
    assert score_quality(levels) == 0.0


def test_half_a_second_is_measured():
    assert 0 <= score_quality(measure(beats_of_noise(1)[:, : SAMPLE_RATE_HZ // 2])) <= 1


def test_each_fault_lowers_the_quality():
    clean = beats_of_noise()
    best = score_quality(measure(clean))
    assert best > 0.9
    faulty = {
        "clipped": np.clip(clean * 12, -1, 1),
        "telephone": beats_of_noise(bandwidth_hz=3_400),
        "mostly silent": np.concatenate([clean, np.zeros((2, clean.shape[1] * 5), np.float32)], axis=1),
        "noise only": np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32),
        "offset": clean * 0.5 + np.float32(0.2),
    }
    for fault, samples in faulty.items():
        assert score_quality(measure(samples)) < 0.75 * best, fault


def test_a_steady_noise_10_db_below_the_whole_is_found():
    clean = beats_of_noise(bandwidth_hz=6_000)
    noise = np.random.default_rng(1).normal(0, np.sqrt((clean**2).mean() / 10), clean.shape).astype(np.float32)
    assert measure(clean).noise_db < -60
    assert -18 < measure(clean + noise).noise_db < -8  # what lies in the bands that the music uses is not known


def test_a_short_clip_has_no_known_noise():
    assert measure(beats_of_noise(2)).noise_db is None
