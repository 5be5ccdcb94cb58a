"""Onsets: when something is struck or starts, in one stem or in a mixture. What it was is in drums.py and notes.py."""

from dataclasses import dataclass, field

import numpy as np

from tasks.music.signals import MEL_BANDS, LogMel

VERSION = "superflux-3"
PIECE_FRAMES = 6_000  # a minute
SETTLED_FRAMES = 600  # more than any window of the peak picking reaches


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
        noise_factor: By how many median deviations of the flux a peak must exceed its median: noise has an even flux.
        context_s: Width of the window of `relative_threshold` and `noise_factor`.
        min_gap_s: Of two onsets closer than this the weaker is dropped.
        decay_s: How long after its top a sound is asked how fast it dies away.
        latency_s: How much too early the middle of the rise of a sound is that dies away at once, given the length of
            the frames; fitted to bursts of noise of known time, decay and loudness.
        attack_s: How long instruments take to speak.
    """

    lag_s: float = 0.02
    vibrato_bands: int = 3
    local_max_s: float = 0.03
    mean_before_s: float = 0.10
    mean_after_s: float = 0.07
    threshold: float = 0.01
    relative_threshold: float = 0.02
    noise_factor: float = 5.0
    context_s: float = 2.0
    min_gap_s: float = 0.03
    decay_s: float = 0.03
    latency_s: float = 0.010
    attack_s: float = 0.002


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


NO_ONSETS = Onsets(np.zeros(0), np.zeros(0, np.float32))


def detect_onsets(mel: LogMel, params: OnsetParams = OnsetParams()) -> Onsets:
    """Find onsets as peaks of the spectral flux, placed between the frames.

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
    time_s = np.maximum.accumulate(np.clip(_locate(mel, peaks, params), 0.0, mel.duration_s))
    places, first = np.unique(time_s, return_index=True)  # peaks that are placed at one moment are one onset
    strength = np.maximum.reduceat(flux[peaks], first) if len(first) else flux[peaks]
    return Onsets(places, strength.astype(np.float32))


@dataclass
class OnsetStream:
    """Finds the onsets in a spectrogram that arrives in parts, keeping no more than a piece of it.

    They are those that `detect_onsets` finds in the whole.
    """

    params: OnsetParams = field(default_factory=OnsetParams)
    _waiting: list[np.ndarray] = field(default_factory=list, init=False)
    _kept: np.ndarray = field(default_factory=lambda: np.zeros((MEL_BANDS, 0), np.float32), init=False)
    _first_frame: int = field(default=0, init=False)
    _settled_frame: int = field(default=0, init=False)
    _found: list[Onsets] = field(default_factory=list, init=False)

    def push(self, mel: LogMel) -> None:
        """Take frames at HOP_S."""
        self._waiting.append(mel.values)
        if sum(values.shape[1] for values in self._waiting) >= PIECE_FRAMES:
            self._settle(SETTLED_FRAMES)

    def finish(self) -> Onsets:
        """The onsets of everything pushed; the stream is spent."""
        self._settle(0)
        times, strengths = zip(*((found.time_s, found.strength) for found in self._found), strict=True)
        return Onsets(np.concatenate(times), np.concatenate(strengths))

    def _settle(self, margin_frames: int) -> None:
        """Keep the onsets that lie before the last frames, which what follows may still change."""
        values = np.concatenate([self._kept, *self._waiting], axis=1)
        self._waiting.clear()
        mel = LogMel(values)
        end_frame = self._first_frame + mel.frames
        until_frame = end_frame - margin_frames
        found = detect_onsets(mel, self.params)
        time_s = found.time_s + self._first_frame * mel.hop_s
        frame = time_s / mel.hop_s
        inside = (frame >= self._settled_frame) & ((frame < until_frame) | (margin_frames == 0))
        self._found.append(Onsets(time_s[inside], found.strength[inside]))
        self._settled_frame = until_frame
        kept_from = max(self._first_frame, until_frame - SETTLED_FRAMES)
        self._kept = values[:, kept_from - self._first_frame :].copy()
        self._first_frame = kept_from


@dataclass
class FluxStream:
    """The flux of a spectrogram that arrives in parts: that which `compute_flux` finds in the whole."""

    params: OnsetParams = field(default_factory=OnsetParams)
    _before: np.ndarray | None = field(default=None, init=False)
    _parts: list[np.ndarray] = field(default_factory=list, init=False)

    def push(self, mel: LogMel) -> None:
        """Take frames at HOP_S."""
        lag = max(1, round(self.params.lag_s / mel.hop_s))
        before = np.zeros((MEL_BANDS, lag), np.float32) if self._before is None else self._before
        values = np.concatenate([before, mel.values], axis=1)
        self._parts.append(_rise(values, lag, self.params.vibrato_bands))
        self._before = values[:, -lag:]

    def finish(self) -> np.ndarray:
        """float32 (frames,)."""
        return np.concatenate([np.zeros(0, np.float32), *self._parts])


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
        flux[start:stop] = _rise(values, lag, params.vibrato_bands)
    return flux


def _rise(values: np.ndarray, lag: int, vibrato_bands: int) -> np.ndarray:
    """Mean rise of each frame but the first `lag` against the widened one `lag` frames before it."""
    from scipy.ndimage import maximum_filter1d

    widened = maximum_filter1d(values[:, :-lag], vibrato_bands, axis=0, mode="nearest")
    return np.maximum(values[:, lag:] - widened, 0.0).mean(axis=0)


def _pick_peaks(flux: np.ndarray, hop_s: float, params: OnsetParams) -> np.ndarray:
    from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

    if not len(flux):
        return np.zeros(0, int)

    def frames(seconds: float) -> int:
        return max(1, round(seconds / hop_s))

    before, after = frames(params.mean_before_s), frames(params.mean_after_s)
    mean = uniform_filter1d(flux, before + after + 1, mode="constant", origin=(before - after) // 2)
    loudest = maximum_filter1d(flux, 2 * frames(params.local_max_s) + 1, mode="constant")
    context = frames(params.context_s)
    strongest = maximum_filter1d(flux, context, mode="constant")
    median = median_filter(flux, context, mode="nearest")
    deviation = median_filter(np.abs(flux - median), context, mode="nearest")
    least = mean + np.maximum(params.threshold, params.relative_threshold * strongest)
    least = np.maximum(least, median + params.noise_factor * deviation)
    candidates = np.flatnonzero((flux >= loudest) & (flux >= least))

    kept: list[int] = []
    for frame in candidates:
        if kept and frame - kept[-1] < frames(params.min_gap_s):
            if flux[frame] > flux[kept[-1]]:
                kept[-1] = frame
        else:
            kept.append(frame)
    return np.array(kept, int)


def _locate(mel: LogMel, peaks: np.ndarray, params: OnsetParams) -> np.ndarray:
    """Seconds at which the sounds of these peaks of the flux begin.

    The magnitude of the bands that rise crosses half its height as the window crosses the onset: that does not depend
    on the loudness, as the peak of a logarithmic flux does. It happens the earlier the faster the sound dies away,
    which is read from what is left of it `params.decay_s` after its top.
    """
    before, after = 3, 6  # frames around a peak
    decay = round(params.decay_s / mel.hop_s)
    if not len(peaks):
        return np.zeros(0)
    padded = np.pad(mel.values, ((0, 0), (before, after)), mode="edge")
    time_s = np.zeros(len(peaks))
    for first in range(0, len(peaks), 4096):  # bounds the memory of the excerpts
        some = peaks[first : first + 4096]
        values = padded[:, some[:, None] + np.arange(before + after + 1)]  # (bands, peaks, frames)
        rise = np.maximum(values[:, :, before + 1] - values[:, :, before - 1], 0.0)
        magnitude = 10.0**values - 1.0
        magnitude /= magnitude[:, :, : before + 4].max(axis=2, keepdims=True) + 1e-9
        height = (magnitude * rise[:, :, None]).sum(axis=0) / (rise.sum(axis=0)[:, None] + 1e-9)

        row = np.arange(len(some))
        top = height[:, : before + 4].argmax(axis=1)
        floor = height[:, :before].min(axis=1)
        full = height[row, top] - floor + 1e-9
        below = (height < (floor + 0.5 * full)[:, None]) & (np.arange(height.shape[1]) < top[:, None])
        last = np.where(below.any(axis=1), height.shape[1] - 1 - below[:, ::-1].argmax(axis=1), 0)
        step = height[row, last + 1] - height[row, last]
        part = np.clip((floor + 0.5 * full - height[row, last]) / np.where(step > 0, step, 1.0), 0.0, 1.0)
        left = np.clip((height[row, np.minimum(top + decay, height.shape[1] - 1)] - floor) / full, 0.0, 1.0)
        crossing_s = (some - before + last + part) * mel.hop_s
        time_s[first : first + 4096] = crossing_s + params.latency_s * (1.0 - left) - params.attack_s
    return time_s
