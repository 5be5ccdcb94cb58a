"""Onsets: when something is struck or starts, in one stem or in a mixture. What was struck is in drums.py and notes.py."""

from dataclasses import dataclass

import numpy as np

from tasks.music.signals import LogMel

VERSION = "superflux-1"


@dataclass(frozen=True)
class OnsetParams:
    """Peak picking of the spectral flux.

    Attributes:
        lag_s: Distance of the two frames that are compared.
        vibrato_bands: Width of the maximum filter along frequency, in mel bands.
        local_max_s: A peak is the largest flux within this distance.
        mean_before_s, mean_after_s: Window of the local mean that a peak must exceed.
        threshold: By how much a peak must exceed the local mean, in units of `Onsets.strength`.
        relative_threshold: The same as a share of the strongest flux within `context_s`.
        context_s: Half width of the window of `relative_threshold`.
        min_gap_s: Of two onsets closer than this the weaker is dropped.
        latency_s: Added to each time, so that onsets lie on the start of the sound and not on the peak of its rise.
    """

    lag_s: float = 0.02
    vibrato_bands: int = 3
    local_max_s: float = 0.03
    mean_before_s: float = 0.10
    mean_after_s: float = 0.07
    threshold: float = 0.01
    relative_threshold: float = 0.02
    context_s: float = 2.0
    min_gap_s: float = 0.03
    latency_s: float = -0.003


@dataclass(frozen=True)
class Onsets:
    """Onsets in ascending time.

    Attributes:
        time_s: float64 (n,), seconds from the start of the signal.
        strength: float32 (n,), mean rise over the mel bands in decades of `LogMel` magnitude: 0.05 is a soft note,
            1 a full-scale click out of silence.
    """

    time_s: np.ndarray
    strength: np.ndarray

    def __len__(self) -> int:
        return len(self.time_s)


def detect_onsets(mel: LogMel, params: OnsetParams = OnsetParams()) -> Onsets:
    """Find onsets as peaks of the spectral flux, refined below the frame.

    Args:
        mel: The spectrogram of one stem or of a mixture.
        params: Windows and thresholds of the peak picking.

    Returns:
        Onsets in ascending time; none for silence or steady noise.

    Reference:
        Böck & Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013.
    """
    flux = compute_flux(mel, params)
    peaks = _pick_peaks(flux, mel.hop_s, params)
    time_s = (peaks + _parabolic_offset(flux, peaks)) * mel.hop_s + params.latency_s
    return Onsets(np.clip(time_s, 0.0, mel.duration_s), flux[peaks].astype(np.float32))


def compute_flux(mel: LogMel, params: OnsetParams = OnsetParams()) -> np.ndarray:
    """Mean rise over the mel bands against the vibrato-filtered past, float32 (frames,)."""
    lag = max(1, round(params.lag_s / mel.hop_s))
    flux = np.zeros(mel.frames, np.float32)
    block = 6000  # frames: bounds the memory of the filtered copy
    for start in range(0, mel.frames, block):
        stop = min(start + block, mel.frames)
        values = mel.values[:, max(0, start - lag) : stop]
        if start == 0:  # before the track there was silence
            values = np.pad(values, ((0, 0), (lag, 0)))
        rise = values[:, lag:] - _widen(values, params.vibrato_bands)[:, :-lag]
        flux[start:stop] = np.maximum(rise, 0.0).mean(axis=0)
    return flux


def _widen(values: np.ndarray, bands: int) -> np.ndarray:
    from scipy.ndimage import maximum_filter1d

    return maximum_filter1d(values, bands, axis=0, mode="nearest")


def _pick_peaks(flux: np.ndarray, hop_s: float, params: OnsetParams) -> np.ndarray:
    from scipy.ndimage import maximum_filter1d

    if not len(flux):
        return np.zeros(0, int)

    def frames(seconds: float) -> int:
        return max(1, round(seconds / hop_s))

    loudest = maximum_filter1d(flux, 2 * frames(params.local_max_s) + 1, mode="constant")
    context = maximum_filter1d(flux, 2 * frames(params.context_s) + 1, mode="constant")
    before, after = frames(params.mean_before_s), frames(params.mean_after_s)
    total = np.concatenate([np.zeros(before), np.cumsum(flux, dtype=np.float64), np.zeros(after)])
    total[before + len(flux) :] = total[before + len(flux) - 1]
    mean = (total[before + after :] - np.concatenate([[0.0], total])[: len(flux)]) / (before + after + 1)
    margin = np.maximum(params.threshold, params.relative_threshold * context)
    candidates = np.flatnonzero((flux >= loudest) & (flux >= mean + margin))

    kept: list[int] = []
    for frame in candidates:
        if kept and frame - kept[-1] < frames(params.min_gap_s):
            if flux[frame] > flux[kept[-1]]:
                kept[-1] = frame
        else:
            kept.append(frame)
    return np.array(kept, int)


def _parabolic_offset(flux: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Where the parabola through a peak and its neighbours is highest, in frames from the peak, within half a frame."""
    padded = np.pad(flux.astype(np.float64), 1)
    left, middle, right = padded[peaks], padded[peaks + 1], padded[peaks + 2]
    curvature = left - 2.0 * middle + right
    offset = np.where(curvature < -1e-12, 0.5 * (left - right) / np.minimum(curvature, -1e-12), 0.0)
    return np.clip(offset, -0.5, 0.5)
