"""How hard drums are struck, by how loud they are beside the other strokes of the same instrument.

A network hears the touch of a stroke, a level says what stands out: velocities are the mean of both. How hits are found
is in tasks/music/drums.py.
"""

from dataclasses import dataclass, replace

import numpy as np

from tasks.music.drums import INSTRUMENTS, Hits
from tasks.music.signals import HOP_S, mel_centres_hz

VERSION = "levels-2"

# Where each instrument has its energy and the others have least; the snare keeps above the kick's body.
_BANDS_HZ = {
    "kick": (0.0, 130.0),
    "snare": (150.0, 6_000.0),
    "hihat": (6_000.0, 16_000.0),
    "tom": (60.0, 400.0),
    "crash": (3_000.0, 16_000.0),
    "ride": (3_000.0, 16_000.0),
}
_STROKE_FRAMES = np.arange(-2, 6)  # around a hit: where its energy is greatest
_BEFORE_FRAMES = np.arange(-10, -4)  # before it: what still rings, or plays on


@dataclass(frozen=True)
class LevelParams:
    """How levels become velocities.

    Attributes:
        window_hits: How many strokes of an instrument around one say what is usual, an odd number.
        least_energy: What a stroke has at least, so that one that cannot be heard has a level; 1 is a full-scale sine.
    """

    window_hits: int = 129
    least_energy: float = 1e-9


def measure_band_energy(energy: np.ndarray) -> np.ndarray:
    """The energy in the band of each of `INSTRUMENTS`.

    Args:
        energy: float32 (MEL_BANDS, frames), `measure_energy` of the drum stem, or of the mixture without one.

    Returns:
        float32 (instruments, frames), squared magnitudes.
    """
    centres_hz = mel_centres_hz()
    inside = [(centres_hz >= low_hz) & (centres_hz < high_hz) for low_hz, high_hz in map(_BANDS_HZ.get, INSTRUMENTS)]
    return np.stack([energy[bands].sum(axis=0) for bands in inside])


def weigh_levels(hits: Hits, band_energy: np.ndarray, params: LevelParams = LevelParams()) -> Hits:
    """Take the mean of each hit's velocity and of the one that its level has beside its neighbours' levels.

    A stroke whose level is the median of its instrument's strokes around it stands at the median of their velocities;
    the others follow in proportion to their amplitude. So the gain of a recording does not matter.

    Args:
        hits: Hits with the velocities that the network gave.
        band_energy: float (instruments, frames) at HOP_S, from `measure_band_energy`.
        params: What is a neighbour, and what is silent.

    Returns:
        The same hits with other velocities; a single stroke of an instrument keeps its own.
    """
    from scipy.ndimage import median_filter

    velocity = hits.velocity.astype(np.float64)
    for energy, instrument in zip(band_energy, INSTRUMENTS, strict=True):
        mine = np.flatnonzero(hits.instrument == instrument)
        if not len(mine):
            continue
        level_db = _stroke_levels_db(energy, hits.time_s[mine], params.least_energy)
        size = min(params.window_hits, 2 * len(mine) - 1)
        usual_db, usual = (median_filter(x, size, mode="reflect") for x in (level_db, velocity[mine]))
        by_level = usual * 10 ** ((level_db - usual_db) / 20)
        velocity[mine] = (velocity[mine] + np.clip(by_level, 1, 127)) / 2
    return replace(hits, velocity=np.clip(np.rint(velocity), 1, 127).astype(np.int64))


def _stroke_levels_db(energy: np.ndarray, time_s: np.ndarray, least_energy: float) -> np.ndarray:
    """How much energy each stroke adds to what was there before it."""
    frame = np.rint(time_s / HOP_S).astype(int)[:, None]
    last = len(energy) - 1
    at = energy[np.clip(frame + _STROKE_FRAMES, 0, last)].max(axis=1)
    before = energy[np.clip(frame + _BEFORE_FRAMES, 0, last)].min(axis=1)
    return 10 * np.log10(np.maximum((at - before).astype(np.float64), least_energy))
