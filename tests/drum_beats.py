"""Drum beats of a tiny synthesiser, whose times are known."""

from itertools import pairwise

import numpy as np

from tasks.music.signals import SAMPLE_RATE_HZ, LogMel, Signal, compute_log_mel


def make_mel(samples: np.ndarray) -> LogMel:
    return compute_log_mel(Signal(np.atleast_2d(samples).astype(np.float32)))


def play(strokes: list[tuple[float, str]], duration_s: float, seed: int = 0) -> np.ndarray:
    """Kicks (falling sines), snares and hi-hats (noise) at these times."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(round((duration_s + 1) * SAMPLE_RATE_HZ))
    t = np.arange(round(0.25 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(t))
    sounds = {
        "kick": np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.08),
        "snare": 0.35 * noise * np.exp(-t / 0.05) + 0.3 * np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.06),
        "hihat": 0.15 * np.diff(noise, prepend=0) * np.exp(-t / 0.02),
    }
    for time_s, name in strokes:
        start = round(time_s * SAMPLE_RATE_HZ)
        samples[start : start + len(t)] += 0.5 * sounds[name]
    return samples[: round(duration_s * SAMPLE_RATE_HZ)]


def rock(beat_s: np.ndarray, swing: float = 0.5) -> list[tuple[float, str]]:
    """Kick on one and three, snare on two and four, hi-hat in eighths."""
    strokes = []
    for index, (now, following) in enumerate(pairwise(beat_s)):
        strokes += [(now, "kick" if index % 2 == 0 else "snare"), (now, "hihat")]
        strokes.append((now + swing * (following - now), "hihat"))
        if index % 4 == 1:
            strokes.append((now + swing * (following - now), "kick"))
    return strokes


def share_found(beat_s: np.ndarray, found_s: np.ndarray, window_s: float = 0.07) -> float:
    return float((np.abs(np.subtract.outer(beat_s, found_s)).min(axis=1) < window_s).mean())
