"""Splits an accompaniment into drums, bass and the rest by masks. The networks and the audio are in tasks/models/spleeter.py.

Drums are smooth over frequency and short; notes are narrow and last. Both are judged on one spectrogram by running means
of compressed magnitudes, which a loud outlier moves as little as it moves a median and which cost a few additions a cell.
Bass is what lasts below a corner frequency.
"""

from dataclasses import dataclass

import numpy as np

VERSION = "hpss-1"


@dataclass(frozen=True)
class SplitParams:
    """Widths are of one side of a window; frequencies are where the bass mask is half open."""

    sustain_frames: int = 6
    spread_bins: int = 14
    compression: float = 0.5
    bass_corner_hz: float = 220.0
    bass_slope: float = 6.0


@dataclass(frozen=True)
class StemMasks:
    """Shares of the accompaniment, float32 (frames, bins) each, in [0, 1]; what is left is `other`."""

    drums: np.ndarray
    bass: np.ndarray


def context_frames(params: SplitParams = SplitParams()) -> int:
    """Frames on either side that a mask depends on: a piece with that much more at both ends gives the same masks."""
    return params.sustain_frames


def split_accompaniment(magnitude: np.ndarray, bin_hz: float, params: SplitParams = SplitParams()) -> StemMasks:
    """Find the shares of drums and bass in an accompaniment.

    Args:
        magnitude: Spectrogram of the accompaniment, float32 (frames, bins); bins from 0 Hz up.
        bin_hz: Distance of the bins.
        params: Window widths and the corner of the bass.

    Returns:
        The masks; no frames give empty masks.

    Reference:
        FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010, for the principle.
    """
    if magnitude.shape[0] == 0:
        return StemMasks(np.zeros_like(magnitude), np.zeros_like(magnitude))
    level = magnitude**params.compression
    sustained = _lower_side(level, params.sustain_frames, axis=0)
    spread = _lower_side(level, params.spread_bins, axis=1)
    power = 2.0 / params.compression
    harmonic = sustained**power
    percussive = spread**power
    drums = percussive / (harmonic + percussive + 1e-12)
    hz = np.arange(magnitude.shape[1], dtype=np.float32) * bin_hz
    bass_weight = 1.0 / (1.0 + (hz / params.bass_corner_hz) ** params.bass_slope)
    return StemMasks(drums.astype(np.float32), ((1.0 - drums) * bass_weight).astype(np.float32))


class SplitStream:
    """Splits the spectrum of an accompaniment that arrives in pieces, as one pass over the whole would.

    Attributes:
        delay_frames: The results trail the input by so many frames; as many frames of silence come first.
    """

    def __init__(self, bin_hz: float, params: SplitParams = SplitParams()) -> None:
        self.delay_frames = context_frames(params)
        self._bin_hz = bin_hz
        self._params = params
        self._recent: np.ndarray | None = None

    def push(self, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take spectra, complex64 (channels, frames, bins); give those of drums and bass in the same shape, late."""
        channels, frames, bins = spectrum.shape
        if self._recent is None:
            self._recent = np.zeros((channels, 2 * self.delay_frames, bins), spectrum.dtype)
        known = np.concatenate([self._recent, spectrum], axis=1)
        self._recent = known[:, frames:].copy()
        masks = split_accompaniment(np.abs(known).mean(axis=0), self._bin_hz, self._params)
        judged = slice(self.delay_frames, self.delay_frames + frames)
        return known[:, judged] * masks.drums[judged], known[:, judged] * masks.bass[judged]


def _lower_side(level: np.ndarray, width: int, axis: int) -> np.ndarray:
    """The lower one of the means of the `width` cells before and after each cell: an edge or a burst does not pass."""
    from scipy.ndimage import uniform_filter1d

    means = uniform_filter1d(level, width, axis=axis, mode="constant", origin=0)
    before = np.roll(means, (width + 1) // 2, axis=axis)
    after = np.roll(means, -(width + 1) // 2, axis=axis)
    return np.minimum(before, after)
