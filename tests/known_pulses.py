"""What a pulse network hears that knows the beats."""

import numpy as np

from tasks.music.meter import METERS
from tasks.music.pulse import FRAME_RATE_HZ, TEMPI_BPM, Pulse


def beat_curve(beat_s: np.ndarray, duration_s: float, strength: float = 0.8) -> np.ndarray:
    """The activation of the beats."""
    curve = np.full(round(duration_s * FRAME_RATE_HZ), 0.02)
    frames = np.round(np.asarray(beat_s) * FRAME_RATE_HZ).astype(int)
    for reach, share in ((1, 0.5), (-1, 0.5), (0, 1.0)):
        curve[np.clip(frames + reach, 0, len(curve) - 1)] = strength * share
    return curve


def hear_bars(beat_s: np.ndarray, downbeat_s: np.ndarray, parts_s: np.ndarray | None = None) -> Pulse:
    """Beats and downbeats, but neither meter nor tempo."""
    beat = beat_curve(beat_s, 30)
    if parts_s is not None:
        beat = np.maximum(beat, beat_curve(parts_s, 30, strength=0.25))
    even = np.full((len(METERS), len(beat)), 1 / len(METERS))
    return Pulse(beat, beat_curve(downbeat_s, 30), even, np.full((len(TEMPI_BPM), len(beat)), 1 / len(TEMPI_BPM)))
