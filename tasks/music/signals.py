"""Signals and the spectrogram that the stations share. Decoding is in tasks/audio.py, decisions in the other modules.

Every station reads `LogMel` frames, never samples, so a track of any length passes through in blocks. `MelStream` takes
the blocks as they are decoded and gives the same frames as one pass over the whole signal; `PieceStream` hands frames
to a network with what surrounds them; `PoolStream` keeps a coarse spectrogram of the whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

SAMPLE_RATE_HZ = 44_100
FRAME_SAMPLES = 2048
HOP_SAMPLES = 441
HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ  # 10 ms exactly
CACHED_FRAMES = 32  # transformed at a time: they stay in the cache of the processor
MEL_BANDS = 80
MEL_FMIN_HZ = 27.5
MEL_FMAX_HZ = 16_000.0
POOLED_FRAMES = 10  # of a coarse spectrogram: tenths of a second, 12 MB an hour
LOG_GAIN = 1_000.0  # log10(1 + LOG_GAIN · magnitude): keeps soft hits, flattens the noise floor of 16-bit audio


@dataclass(frozen=True)
class Signal:
    """Audio in memory: samples float32 (channels, n), nominally in [-1, 1]."""

    samples: np.ndarray
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.sample_rate_hz

    def to_mono(self) -> "Signal":
        """The mean of the channels, (1, n)."""
        return Signal(self.samples.mean(axis=0, keepdims=True), self.sample_rate_hz)


@dataclass(frozen=True)
class LogMel:
    """A logarithmic mel spectrogram.

    Attributes:
        values: float32 (MEL_BANDS, frames), log10(1 + LOG_GAIN · mel magnitude); 0 is silence. A full-scale sine
            has a magnitude near 1 in its band. Frame i is centred at i · hop_s seconds.
        hop_s: Seconds between frames.
    """

    values: np.ndarray
    hop_s: float = HOP_S

    @property
    def frames(self) -> int:
        return self.values.shape[1]

    @property
    def duration_s(self) -> float:
        return self.frames * self.hop_s


def measure_energy(log_mel: np.ndarray) -> np.ndarray:
    """Squared magnitudes of the values of a `LogMel`, of any shape, float32."""
    return ((np.float32(10.0) ** log_mel - 1) / np.float32(LOG_GAIN)) ** 2


@lru_cache(maxsize=1)
def mel_filterbank() -> np.ndarray:
    """Triangular mel filters, float32 (MEL_BANDS, FRAME_SAMPLES // 2 + 1), each with a peak of 1 (Slaney's scale)."""
    from librosa.filters import mel

    filters = mel(
        sr=SAMPLE_RATE_HZ, n_fft=FRAME_SAMPLES, n_mels=MEL_BANDS, fmin=MEL_FMIN_HZ, fmax=MEL_FMAX_HZ, norm=None
    )
    # The lowest bands are narrower than a bin and would be empty: they take the nearest bin.
    bins_hz = np.fft.rfftfreq(FRAME_SAMPLES, 1 / SAMPLE_RATE_HZ)
    for band, centre_hz in enumerate(mel_centres_hz()):
        if filters[band].max() < 0.5:
            filters[band, np.argmin(np.abs(bins_hz - centre_hz))] = 1.0
    return filters.astype(np.float32)


@lru_cache(maxsize=1)
def mel_centres_hz() -> np.ndarray:
    """Centre frequency of each mel band, (MEL_BANDS,)."""
    from librosa import mel_frequencies

    return mel_frequencies(n_mels=MEL_BANDS + 2, fmin=MEL_FMIN_HZ, fmax=MEL_FMAX_HZ)[1:-1]


@dataclass
class FrameStream:
    """Cuts a stream of mono blocks into centred, overlapping frames.

    The signal is padded with half a frame of zeros at both ends; frame i is centred on sample i · hop_samples, and n
    samples give n // hop_samples + 1 frames, however they are cut into blocks.
    """

    frame_samples: int = FRAME_SAMPLES
    hop_samples: int = HOP_SAMPLES
    _tail: np.ndarray = field(init=False)
    _samples_seen: int = field(default=0, init=False)
    _frames_out: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._tail = np.zeros(self.frame_samples // 2, np.float32)

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take samples (n,); give the complete frames, a view (frames, frame_samples)."""
        self._samples_seen += len(block)
        buffer = np.concatenate([self._tail, block.astype(np.float32, copy=False)])
        count = max(0, (len(buffer) - self.frame_samples) // self.hop_samples + 1)
        return self._cut(buffer, count)

    def finish(self) -> np.ndarray:
        """Give the last frames, padded with zeros."""
        count = self._samples_seen // self.hop_samples + 1 - self._frames_out
        missing = (count - 1) * self.hop_samples + self.frame_samples - len(self._tail)
        return self._cut(np.concatenate([self._tail, np.zeros(max(0, missing), np.float32)]), count)

    def _cut(self, buffer: np.ndarray, count: int) -> np.ndarray:
        self._frames_out += count
        self._tail = buffer[count * self.hop_samples :].copy()
        if count == 0:
            return np.zeros((0, self.frame_samples), np.float32)
        return np.lib.stride_tricks.sliding_window_view(buffer, self.frame_samples)[:: self.hop_samples][:count]


@dataclass
class MelStream:
    """Builds a `LogMel` from blocks of audio at SAMPLE_RATE_HZ."""

    _frames: FrameStream = field(default_factory=FrameStream)
    _parts: list[np.ndarray] = field(default_factory=list)

    def push(self, block: np.ndarray) -> None:
        """Take float32 samples (channels, n); channels are averaged."""
        self._take(self._frames.push(block.mean(axis=0)))

    def finish(self) -> LogMel:
        """The spectrogram of everything pushed and not yet drained; the stream is spent."""
        self._take(self._frames.finish())
        return self.drain()

    def drain(self) -> LogMel:
        """The frames that are complete; the stream forgets them and goes on behind them."""
        parts, self._parts = self._parts, []
        return LogMel(np.concatenate([np.zeros((MEL_BANDS, 0), np.float32), *parts], axis=1))

    def _take(self, frames: np.ndarray) -> None:
        if len(frames):
            window = _hann(frames.shape[1])
            magnitude = np.empty((len(frames), frames.shape[1] // 2 + 1), np.float32)
            for first in range(0, len(frames), CACHED_FRAMES):
                some = slice(first, first + CACHED_FRAMES)
                np.abs(_rfft(frames[some] * window), out=magnitude[some])
            magnitude *= np.float32(2.0 / window.sum())
            self._parts.append(np.log10(1.0 + LOG_GAIN * (mel_filterbank() @ magnitude.T)).astype(np.float32))


@dataclass
class PieceStream:
    """Cuts a stream of frames into pieces, each with the frames around it that a network looks at.

    The pieces lie where they would lie in the whole, however the frames arrive; one piece is in memory at a time.

    Attributes:
        piece_frames: Length of all pieces but the last.
        context_frames: Frames before and after a piece, fewer at the ends of the signal.
    """

    piece_frames: int
    context_frames: int
    _kept: np.ndarray | None = field(default=None, init=False)
    _before: int = field(default=0, init=False)

    def push(self, values: np.ndarray) -> Iterator["Piece"]:
        """Take frames (…, n); give the pieces whose surroundings are complete."""
        self._kept = values if self._kept is None else np.concatenate([self._kept, values], axis=-1)
        while self._kept.shape[-1] - self._before >= self.piece_frames + self.context_frames:
            yield self._cut(self.piece_frames)

    def finish(self) -> Iterator["Piece"]:
        """Give what is left, if anything."""
        while self._kept is not None and (left := self._kept.shape[-1] - self._before) > 0:
            yield self._cut(min(left, self.piece_frames))

    def _cut(self, frames: int) -> "Piece":
        end = self._before + frames
        piece = Piece(self._kept[..., : end + self.context_frames], self._before, end)
        before = min(end, self.context_frames)
        self._kept, self._before = self._kept[..., end - before :].copy(), before
        return piece


@dataclass(frozen=True)
class Piece:
    """Frames (…, n), of which those from `start` to `end` are the piece and the others surround it."""

    values: np.ndarray
    start: int
    end: int


@dataclass
class PoolStream:
    """Averages groups of frames: a spectrogram coarse enough to be kept of a whole track."""

    pooled_frames: int = POOLED_FRAMES
    _rest: np.ndarray = field(default_factory=lambda: np.zeros((MEL_BANDS, 0), np.float32), init=False)
    _parts: list[np.ndarray] = field(default_factory=list, init=False)

    def push(self, mel: LogMel) -> None:
        """Take frames at HOP_S."""
        values = np.concatenate([self._rest, mel.values], axis=1)
        whole = values.shape[1] // self.pooled_frames * self.pooled_frames
        self._parts.append(values[:, :whole].reshape(MEL_BANDS, -1, self.pooled_frames).mean(axis=2))
        self._rest = values[:, whole:]

    def finish(self) -> LogMel:
        """The mean of each group, the last one of what is left; hop_s is that of the groups."""
        parts = [*self._parts, self._rest.mean(axis=1, keepdims=True)] if self._rest.shape[1] else self._parts
        return LogMel(
            np.concatenate([np.zeros((MEL_BANDS, 0), np.float32), *parts], axis=1), HOP_S * self.pooled_frames
        )


def compute_log_mel(signal: Signal) -> LogMel:
    """The logarithmic mel spectrogram of a whole signal at SAMPLE_RATE_HZ."""
    if signal.sample_rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"LogMel is defined at {SAMPLE_RATE_HZ} Hz; the signal has {signal.sample_rate_hz} Hz.")
    stream = MelStream()
    stream.push(signal.samples)
    return stream.finish()


def _rfft(frames: np.ndarray) -> np.ndarray:
    from scipy.fft import rfft

    return rfft(frames, axis=1)


@lru_cache(maxsize=4)
def _hann(samples: int) -> np.ndarray:
    """The periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)).astype(np.float32)
