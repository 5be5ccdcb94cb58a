"""Sounds with sharp beginnings that are no drums: clicks, crackle, ticking, applause, gusts of noise."""

import numpy as np
from scipy.signal import butter, sosfilt

from tasks.models.training.kits import RATE_HZ


def make_disturbance(duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """One kind of them, or two together, with a peak of 1: float32 (2, n)."""
    makers = (_make_pulses, _make_crackle, _make_ticks, _make_applause, _make_gusts)
    chosen = rng.choice(len(makers), int(rng.integers(1, 3)), replace=False)
    mixed = sum(rng.uniform(0.3, 1) * makers[index](round(duration_s * RATE_HZ), rng) for index in chosen)
    mixed = mixed / (np.abs(mixed).max() + 1e-9)
    return np.stack([mixed, mixed]).astype(np.float32)


def _starts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Evenly, as a metronome ticks, or at random."""
    gap_s = rng.uniform(0.08, 0.8)
    if rng.random() < 0.6:
        return np.arange(rng.integers(0, RATE_HZ), count - RATE_HZ // 2, round(gap_s * RATE_HZ))
    return np.sort(rng.integers(0, count - RATE_HZ // 2, int(count / RATE_HZ / gap_s)))


def _make_pulses(count: int, rng: np.random.Generator) -> np.ndarray:
    """Rectangular pulses of 0.1 to 5 ms."""
    out = np.zeros(count)
    length = max(2, round(np.exp(rng.uniform(np.log(0.0001), np.log(0.005))) * RATE_HZ))
    for start in _starts(count, rng):
        out[start : start + length] += rng.uniform(0.5, 1)
    return out


def _make_crackle(count: int, rng: np.random.Generator) -> np.ndarray:
    """Single samples, most of them weak, as dust on a record gives."""
    out = np.zeros(count)
    places = rng.integers(0, count, int(count / RATE_HZ * rng.uniform(3, 60)))
    out[places] = rng.uniform(-1, 1, len(places)) ** 3
    band = butter(1, [rng.uniform(200, 1_500), rng.uniform(4_000, 15_000)], "bandpass", fs=RATE_HZ, output="sos")
    return sosfilt(band, out) + 0.002 * rng.standard_normal(count)


def _make_ticks(count: int, rng: np.random.Generator) -> np.ndarray:
    """Beeps and woody ticks of a metronome, a clock, keys."""
    t = np.arange(round(0.08 * RATE_HZ)) / RATE_HZ
    decay_s = rng.uniform(0.002, 0.02)
    tick = sum(np.sin(2 * np.pi * hz * t) * np.exp(-t / decay_s) for hz in rng.uniform(600, 4_500, rng.integers(1, 5)))
    out = np.zeros(count)
    for start in _starts(count, rng):
        out[start : start + len(tick)] += rng.uniform(0.6, 1) * tick
    return out


def _make_applause(count: int, rng: np.random.Generator) -> np.ndarray:
    out = np.zeros(count)
    t = np.arange(round(0.03 * RATE_HZ)) / RATE_HZ
    claps = []
    for _ in range(12):
        low_hz = rng.uniform(500, 1_800)
        band = butter(2, [low_hz, low_hz * rng.uniform(1.5, 4)], "bandpass", fs=RATE_HZ, output="sos")
        claps.append(sosfilt(band, rng.standard_normal(len(t))) * np.exp(-t / rng.uniform(0.003, 0.01)))
    for start in rng.integers(0, count - len(t), int(count / RATE_HZ * rng.uniform(30, 300))):
        out[start : start + len(t)] += rng.uniform(0.1, 1) * claps[rng.integers(len(claps))]
    return out


def _make_gusts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that swells and ebbs within tenths of a second to seconds: wind, surf, breath."""
    points = max(4, int(count / RATE_HZ / rng.uniform(0.15, 2)))
    swell = np.interp(np.arange(count), np.linspace(0, count, points), rng.uniform(0, 1, points) ** 2)
    low_hz = np.exp(rng.uniform(np.log(60), np.log(4_000)))
    band = butter(1, [low_hz, min(18_000, low_hz * rng.uniform(2, 10))], "bandpass", fs=RATE_HZ, output="sos")
    return swell * sosfilt(band, rng.standard_normal(count))
