"""Chroma frames and the key of a recording. Chords and modulations do not belong here.

`ChromaStream` finds the spectral peaks of long frames and folds their pitches into an octave of 120 bins, so that the
tuning of the recording can be estimated over its whole length before the bins become the 12 pitch classes.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tasks.music.signals import SAMPLE_RATE_HZ, FrameStream, Signal

VERSION = "peak-chroma-profiles-2"
FRAME_SAMPLES = 16_384  # 0.37 s: two semitones at 65 Hz stay apart
HOP_SAMPLES = 8_820
CHROMA_HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ  # 0.2 s exactly
MIN_HZ = 60.0
MAX_HZ = 2_000.0
BINS_A_SEMITONE = 10
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SILENCE_MAGNITUDE = 1e-4  # -80 dB of a full-scale sine: quieter frames have no pitch

# Weight of each scale degree, from the tonic up. Albrecht & Shanahan, "The use of large corpora to train a new type of
# key-finding algorithm", Music Perception 31(1), 2013, table 1: shares of the pitch classes in major and minor pieces.
MAJOR_PROFILE = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR_PROFILE = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)


@dataclass(frozen=True)
class Chroma:
    """Strength of the pitch classes over time.

    Attributes:
        values: float32 (12, frames), row 0 = C; a column grows with the root of the pitched level, 0 is silence.
        hop_s: Seconds between frames; frame i is centred at i · hop_s.
        tuning_semitones: How far the recording lies above A4 = 440 Hz, in [-0.5, 0.5]; already taken out.
        intonation: How closely the pitches keep to the semitones of that tuning, 0 (no more here than there) to 1.
        tonality: Share of the level between 60 Hz and 2 kHz that lies in lasting peaks, 0 to 1.
    """

    values: np.ndarray
    hop_s: float = CHROMA_HOP_S
    tuning_semitones: float = 0.0
    intonation: float = 1.0
    tonality: float = 0.0

    @property
    def frames(self) -> int:
        return self.values.shape[1]

    def sum_between(self, borders_s: np.ndarray) -> np.ndarray:
        """Strength between neighbouring borders, float64 (12, borders - 1); a frame counts by its share."""
        running = np.cumsum(np.pad(self.values.astype(np.float64), ((0, 0), (1, 0))), axis=1)
        edge_s = (np.arange(running.shape[1]) - 0.5) * self.hop_s
        return np.diff([np.interp(borders_s, edge_s, row) for row in running], axis=1)


@dataclass(frozen=True)
class Key:
    """A key such as "C minor" or "F# major" and the confidence in [0, 1]; both None where there is none to hear."""

    detected_key: str | None
    key_confidence: float | None


@dataclass(frozen=True)
class KeyParams:
    """Limits of `detect_key`."""

    min_tonality: float = 0.3  # drum kits alone reach 0.2 to 0.45, music with pitches 0.4 to 0.9
    sure_intonation: float = 0.35  # below, a key is doubted: drums that ring reach 0.1 to 0.3, music mostly 0.4 to 0.9
    min_correlation: float = 0.6
    min_confidence: float = 0.1
    min_sounding_s: float = 2.0


@dataclass
class ChromaStream:
    """Builds a `Chroma` from blocks of audio at SAMPLE_RATE_HZ; keeps 120 numbers for each 0.2 s."""

    _frames: FrameStream = field(default_factory=lambda: FrameStream(FRAME_SAMPLES, HOP_SAMPLES))
    _parts: list[np.ndarray] = field(default_factory=list)
    _previous: np.ndarray | None = field(default=None, init=False)
    _lasting: float = field(default=0.0, init=False)
    _total: float = field(default=0.0, init=False)

    def push(self, block: np.ndarray) -> None:
        """Take float32 samples (channels, n); channels are averaged."""
        self._take(self._frames.push(block.mean(axis=0)))

    def finish(self) -> Chroma:
        """The chroma of everything pushed; the stream is spent."""
        self._take(self._frames.finish())
        fine = np.concatenate(self._parts, axis=1)
        tuning, intonation = estimate_tuning(fine.sum(axis=1))
        tonality = self._lasting / self._total if self._total > 0 else 0.0
        return Chroma(fold_semitones(fine, tuning), CHROMA_HOP_S, tuning, intonation, tonality)

    def _take(self, frames: np.ndarray) -> None:
        from scipy.fft import rfft

        for start in range(0, len(frames), 64):  # 64 frames at once: 4 MB of spectra
            windowed = frames[start : start + 64] * _window()
            low, high = _bin_range()
            magnitude = np.abs(rfft(windowed, axis=1)[:, low - 1 : high + 1]) * np.float32(2 / _window().sum())
            self._parts.append(self._fold_peaks(magnitude))

    def _fold_peaks(self, magnitude: np.ndarray) -> np.ndarray:
        """Fold the lasting peaks of spectra (frames, bins) into fine chroma, float32 (120, frames)."""
        background = _background(magnitude)
        inner, left, right = magnitude[:, 1:-1], magnitude[:, :-2], magnitude[:, 2:]
        is_peak = (inner > left) & (inner >= right) & (inner > 2 * background[:, 1:-1]) & (inner > SILENCE_MAGNITUDE)

        # A note lasts longer than a frame's step; noise makes new peaks each time.
        near = is_peak | np.roll(is_peak, 1, axis=1) | np.roll(is_peak, -1, axis=1)
        before = np.concatenate([near[:1] if self._previous is None else self._previous[None], near[:-1]])
        self._previous = near[-1]
        is_peak &= before

        frame, position = np.nonzero(is_peak)
        a, b, c = (np.log(part[frame, position] + 1e-12) for part in (left, inner, right))
        shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-6)  # the vertex of the parabola through three bins
        low, _ = _bin_range()
        hz = (position + low + shift) * SAMPLE_RATE_HZ / FRAME_SAMPLES
        fine_bins = 12 * BINS_A_SEMITONE
        fine = np.rint(BINS_A_SEMITONE * (12 * np.log2(hz / 440.0) + 9)).astype(int) % fine_bins  # A is row 9
        weight = np.sqrt(inner[frame, position]) / np.maximum(1.0, hz / 500.0)  # high peaks are mostly overtones

        chroma = np.zeros((fine_bins, len(magnitude)), np.float32)
        np.add.at(chroma, (fine, frame), weight)

        sounding = inner.max(axis=1) > 10 * SILENCE_MAGNITUDE
        energy = inner**2
        lasting = _widen(is_peak, 3)
        self._lasting += float(np.sqrt((energy * lasting).sum(axis=1))[sounding].sum())
        self._total += float(np.sqrt(energy.sum(axis=1))[sounding].sum())
        return chroma


def estimate_tuning(fine: np.ndarray) -> tuple[float, float]:
    """How fine chroma summed over time, (120,), is tuned.

    Returns:
        The deviation from A4 = 440 Hz, in semitones within [-0.5, 0.5], and how closely the peaks keep to it, 0 to 1:
        direction and length of the circular mean of their distances from the nearest semitone; 0 without peaks.
    """
    angle = 2 * np.pi * np.arange(len(fine)) / BINS_A_SEMITONE
    mean = np.sum(fine * np.exp(1j * angle)) / max(float(fine.sum()), 1e-9)
    return (float(np.angle(mean) / (2 * np.pi)), float(abs(mean))) if abs(mean) > 1e-9 else (0.0, 0.0)


def fold_semitones(fine: np.ndarray, tuning_semitones: float) -> np.ndarray:
    """Fold fine chroma (120, frames) to the 12 pitch classes of a tuning, float32 (12, frames).

    A peak half-way between two semitones counts half for both.
    """
    position = np.arange(fine.shape[0]) / BINS_A_SEMITONE - tuning_semitones
    distance = np.abs((position[None, :] - np.arange(12)[:, None] + 6) % 12 - 6)
    return (np.clip(1 - distance, 0, 1) @ fine).astype(np.float32)


def compute_chroma(signal: Signal) -> Chroma:
    """The chroma of audio in memory at SAMPLE_RATE_HZ."""
    stream = ChromaStream()
    stream.push(signal.samples)
    return stream.finish()


def detect_key(chroma: Chroma, params: KeyParams = KeyParams()) -> Key:
    """Find the key whose profile correlates best with the mean chroma.

    Args:
        chroma: Of the whole recording.
        params: Below which there is no key to hear.

    Returns:
        The key, its confidence made of the correlation, the lead over the second best key, the tonality and the
        intonation; no key for silence, noise, drums alone and clips under 2 s.

    Reference:
        C. Krumhansl, "Cognitive Foundations of Musical Pitch", 1990, for the method; the profiles are cited above.
    """
    level = chroma.values.sum(axis=0)
    sounding = level > 0.1 * level.max() if level.size and level.max() > 0 else np.zeros(chroma.frames, bool)
    if sounding.sum() * chroma.hop_s < params.min_sounding_s or chroma.tonality < params.min_tonality:
        return Key(None, None)

    # Each frame counts with the root of its level: a soft verse has the key of the loud chorus.
    frames = chroma.values[:, sounding]
    mean = (frames / np.sqrt(frames.sum(axis=0))).mean(axis=1)
    scores = correlate_profiles(mean)
    order = np.argsort(scores)[::-1]
    best, second = scores[order[0]], scores[order[1]]
    if best < params.min_correlation:
        return Key(None, None)
    tonic, mode = order[0] % 12, "major" if order[0] < 12 else "minor"
    lead = np.clip((best - second) / 0.15, 0, 1)
    fit = np.clip((best - params.min_correlation) / (0.95 - params.min_correlation), 0, 1)
    confidence = (0.3 + 0.7 * lead) * fit * np.clip(chroma.tonality / (2 * params.min_tonality), 0, 1)
    confidence *= np.clip(chroma.intonation / params.sure_intonation, 0, 1) ** 2
    if confidence < params.min_confidence:
        return Key(None, None)
    return Key(f"{PITCH_CLASSES[tonic]} {mode}", round(float(confidence), 4))


def correlate_profiles(mean_chroma: np.ndarray) -> np.ndarray:
    """Pearson correlation of a mean chroma (12,) with the 24 keys, (24,): C to B major, then C to B minor."""
    templates = np.array([np.roll(profile, k) for profile in (MAJOR_PROFILE, MINOR_PROFILE) for k in range(12)])
    templates = templates - templates.mean(axis=1, keepdims=True)
    centred = mean_chroma - mean_chroma.mean()
    norms = np.linalg.norm(templates, axis=1) * np.linalg.norm(centred)
    return templates @ centred / np.maximum(norms, 1e-12)


def _background(magnitude: np.ndarray) -> np.ndarray:
    """Mean magnitude around each bin, over 43 bins (116 Hz)."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(magnitude, 43, axis=1, mode="nearest")


def _widen(mask: np.ndarray, bins: int) -> np.ndarray:
    """Spread marks to their neighbours: a peak of the Hann window is four bins wide."""
    wide = mask.copy()
    for step in range(1, bins):
        wide[:, step:] |= mask[:, :-step]
        wide[:, :-step] |= mask[:, step:]
    return wide


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)).astype(np.float32)


def _bin_range() -> tuple[int, int]:
    """First and one past the last bin between MIN_HZ and MAX_HZ."""
    return int(MIN_HZ * FRAME_SAMPLES / SAMPLE_RATE_HZ), int(MAX_HZ * FRAME_SAMPLES / SAMPLE_RATE_HZ) + 1
