"""Splits the spectrum of an accompaniment into drums, bass and the rest. Networks and audio: tasks/models/spleeter.py.

Notes last, drums are wide: a cell of the spectrum belongs to a note as far as its level holds for a while in time, and
to the drums as far as it holds over neighbouring frequencies. "Holds" is a soft opening: the highest of the harmonic
means of all windows that contain the cell. Like the median of FitzGerald's method it passes plateaus with their edges
and removes peaks that are narrower than the window, but it needs no sorting. In the lowest octaves, where kick and bass
are equally narrow, the drums are what exceeds the lasting level, and only in the middle of the stereo image.
"""

from dataclasses import dataclass

import numpy as np

VERSION = "hpss-2"
LOW_BINS = 128  # bass and kick lie below; up to there every band is one bin
_SILENCE = 1e-6  # below the magnitude of any audible bin


@dataclass(frozen=True)
class SplitParams:
    """Windows, and where the ranges of kick, bass and stereo image end."""

    hold_frames: int = 13  # 0.3 s: longer than a hit, shorter than most notes
    spread_bands: int = 25
    drums_gain: float = 0.7
    contrast: float = 1.5
    kick_below_hz: float = 150.0
    kick_exponent: float = 1.5
    image_below_hz: float = 300.0
    image_frames: int = 5
    bass_below_hz: float = 160.0


class SplitStream:
    """Splits a spectrum that arrives in pieces, as one pass over the whole would; silence surrounds it.

    Attributes:
        delay_frames: The results trail the input by so many frames; as many frames of silence come first.

    Reference:
        FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010; the cue of the stereo image is
        that of Avendano, "Frequency-domain source identification and manipulation in stereo mixes", WASPAA 2003.
    """

    def __init__(self, bin_hz: float, params: SplitParams = SplitParams()) -> None:
        self.delay_frames = max(params.hold_frames - 1, params.image_frames // 2)
        self._bin_hz = bin_hz
        self._params = params
        self._recent: np.ndarray | None = None

    def push(self, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take spectra, complex64 (2, frames, bins); give as many frames of drums and of bass, late.

        The bass has only the lowest LOW_BINS bins; it is empty above.
        """
        frames = spectrum.shape[1]
        if self._recent is None:
            self._recent = np.zeros((2, 2 * self.delay_frames, spectrum.shape[2]), spectrum.dtype)
        known = np.concatenate([self._recent, spectrum], axis=1)
        self._recent = known[:, frames:].copy()
        drums_mask, bass_mask = find_masks(known, self._bin_hz, self._params)
        judged = slice(self.delay_frames, self.delay_frames + frames)
        drums = known[:, judged]
        bass = drums[:, :, :LOW_BINS] * bass_mask[judged]
        drums *= drums_mask[judged]
        return drums, bass


def find_masks(
    spectrum: np.ndarray, bin_hz: float, params: SplitParams = SplitParams()
) -> tuple[np.ndarray, np.ndarray]:
    """Find the shares of drums and bass in an accompaniment; what is left is `other`.

    Args:
        spectrum: complex64 (2, frames, bins), bins from 0 Hz up.
        bin_hz: Distance of the bins.
        params: Windows and ranges.

    Returns:
        The shares of drums, float32 (frames, bins), and of bass, (frames, LOW_BINS); they add up to at most 1.
    """
    starts = _band_starts(spectrum.shape[2])
    widths = np.diff(starts, append=spectrum.shape[2])
    band_hz = ((starts + (widths - 1) / 2) * bin_hz).astype(np.float32)
    magnitude = np.abs(spectrum[0]) + np.abs(spectrum[1])
    level = np.add.reduceat(magnitude, starts, axis=1) / widths.astype(np.float32) + np.float32(_SILENCE)

    lasting = _soft_opening(level, params.hold_frames, axis=0)
    wide = _soft_opening(level, params.spread_bands, axis=1)
    percussive = (params.drums_gain * wide) ** params.contrast
    drums = percussive / (percussive + lasting**params.contrast)
    kick = 1.0 - (lasting / level) ** params.kick_exponent
    low = 1.0 / (1.0 + (band_hz / params.kick_below_hz) ** 6)
    drums += low * (kick - drums)
    low_hz = band_hz[:LOW_BINS]
    image_weight = 1.0 / (1.0 + (low_hz / params.image_below_hz) ** 4)
    drums[:, :LOW_BINS] *= _centredness(spectrum[:, :, :LOW_BINS], params) ** image_weight
    bass = (1.0 - drums[:, :LOW_BINS]) / (1.0 + (low_hz / params.bass_below_hz) ** 6)
    return np.repeat(drums, widths, axis=1), bass


def _band_starts(bins: int) -> np.ndarray:
    """First bin of each band: single bins at first, twice as wide from every octave on, as pitch is heard."""
    starts = [np.arange(min(bins, LOW_BINS))]
    first, width = LOW_BINS, 2
    while first < bins - 1:
        starts.append(np.arange(first, min(2 * first, bins - 1), width))
        first, width = 2 * first, 2 * width
    return np.concatenate(starts)


def _soft_opening(level: np.ndarray, width: int, axis: int) -> np.ndarray:
    """The highest harmonic mean of the windows of `width` cells that contain each cell, at most the cell itself."""
    from scipy.ndimage import uniform_filter1d

    means = uniform_filter1d(1.0 / level, width, axis=axis, mode="nearest")
    return np.minimum(1.0 / _lowest_within(means, width, axis), level)


def _lowest_within(values: np.ndarray, width: int, axis: int) -> np.ndarray:
    """The least of the `width` cells from (width - 1) // 2 before each cell on; fewer at the ends.

    Windows of 1, 2, 4, … cells are made of two that are half as long.
    """
    before, after = (width - 1) // 2, width // 2
    pads = [(before, after) if dimension == axis else (0, 0) for dimension in range(values.ndim)]
    lowest = np.pad(values, pads, constant_values=np.inf)

    def shift(cells: int) -> np.ndarray:
        length = lowest.shape[axis] - cells
        first, second = ([slice(None)] * values.ndim for _ in range(2))
        first[axis], second[axis] = slice(0, length), slice(cells, None)
        return np.minimum(lowest[tuple(first)], lowest[tuple(second)])

    length = 1
    while 2 * length <= width:
        lowest = shift(length)
        length *= 2
    return shift(width - length) if length < width else lowest


def _centredness(spectrum: np.ndarray, params: SplitParams) -> np.ndarray:
    """How alike the channels are in level and phase, (frames, bins) in [0, 1]; 1 for mono and for silence."""
    from scipy.ndimage import uniform_filter1d

    left, right = spectrum
    alike = 2.0 * (left.real * right.real + left.imag * right.imag)
    power = left.real**2 + left.imag**2 + right.real**2 + right.imag**2
    alike, power = (
        uniform_filter1d(part, params.image_frames, axis=0) + np.float32(_SILENCE**2) for part in (alike, power)
    )
    return np.clip(alike / power, 0.0, 1.0)
