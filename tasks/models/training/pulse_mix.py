"""Mixes drums and band of a clip anew, in another balance, room and colour each time."""

from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from tasks.models.training.pulse_songs import STEPS_OF_LOG_MEL
from tasks.models.training.pulse_sounds import LOUDNESS_POWER, to_log_mel
from tasks.music.signals import LOG_GAIN, MEL_BANDS, LogMel

_SUMMABLE = (((10.0 ** (np.arange(256) / STEPS_OF_LOG_MEL)) - 1.0) / LOG_GAIN).astype(np.float32) ** LOUDNESS_POWER


def load_clip(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as clip:
        return {name: clip[name] for name in ("drums", "band", "beats", "pos", "meter")}


def mix(drums: np.ndarray, band: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Drums and band together; at times the band alone, or the drums with what a separation leaves of the band."""
    if rng is None:
        return to_log_mel(drums + band).astype(np.float32)
    both = drums.any() and band.any()
    balance_db = rng.normal(-2, 7)
    kind = rng.random() if both else 1.0
    if kind < 0.22:  # the drum stem of a separation: little of the band, in patches
        balance_db = rng.uniform(-45, -15)
        band = band * np.repeat(np.repeat(rng.random((10, band.shape[1] // 40 + 1)), 8, 0), 40, 1)[:, : band.shape[1]]
    elif kind < 0.32:
        balance_db = 40.0
    summed = drums + np.float32(10 ** (balance_db / 20 * LOUDNESS_POWER)) * band
    loudest = summed.max()
    summed = summed / loudest if loudest > 0 else summed
    if rng.random() < 0.4:
        summed = _compress(summed, rng)
    if rng.random() < 0.3:
        summed = np.roll(summed, int(rng.integers(-2, 3)), axis=0)
    curve_db = np.interp(np.arange(MEL_BANDS), np.linspace(0, MEL_BANDS - 1, 5), rng.normal(0, 4, 5))
    gain_db = rng.uniform(-32, 2) + curve_db
    if rng.random() < 0.2:
        gain_db[int(rng.integers(45, MEL_BANDS)) :] = -90.0
    summed = summed * (10 ** (gain_db / 20 * LOUDNESS_POWER)).astype(np.float32)[:, None]
    if rng.random() < 0.4:
        slope_db = np.linspace(0, rng.uniform(-30, 10), MEL_BANDS)
        floor_db = rng.uniform(-75, -45) + slope_db[:, None]
        grain = rng.random((MEL_BANDS, 64), np.float32)[:, np.arange(summed.shape[1]) * 7 % 64]
        summed = summed + (10 ** (floor_db / 20 * LOUDNESS_POWER)).astype(np.float32) * grain
    mel = to_log_mel(summed).astype(np.float32)
    if rng.random() < 0.2:
        first = rng.integers(0, MEL_BANDS - 10)
        mel[first : first + rng.integers(2, 14)] *= rng.random() < 0.5
    if rng.random() < 0.15:
        first = rng.integers(0, max(1, mel.shape[1] - 150))
        mel[:, first : first + rng.integers(20, 150)] = 0.0
    return mel


def mix_and_separate(clip: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[LogMel, LogMel]:
    """A clip in a usual balance, and the likeness of its drum stem: the drums with a little of the band."""
    drums, band = _SUMMABLE[clip["drums"]], _SUMMABLE[clip["band"]]
    balance_db, left_db = rng.normal(-2, 6), rng.uniform(-35, -18)

    def add(band_db: float) -> LogMel:
        summed = drums + np.float32(10 ** (band_db / 20 * LOUDNESS_POWER)) * band
        return LogMel(to_log_mel(summed).astype(np.float32))

    return add(balance_db), add(balance_db + left_db)


def resample(levels: np.ndarray, place: np.ndarray) -> np.ndarray:
    """What may be added up, between the frames; float32 (bands, places)."""
    whole, part = place.astype(int), (place % 1).astype(np.float32)
    if not part.any():
        return _SUMMABLE[levels[:, whole]]
    return _SUMMABLE[levels[:, whole]] * (1 - part) + _SUMMABLE[levels[:, whole + 1]] * part


def _compress(summed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn loud moments down, more or less fast."""
    keep = np.exp(-1 / rng.uniform(1, 20))
    envelope = lfilter([1 - keep], [1, -keep], summed.sum(axis=0)) + 1e-4
    return summed * (envelope ** -rng.uniform(0.1, 0.6)).astype(np.float32)
