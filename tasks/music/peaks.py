"""Acoustic fingerprints that a change of speed, pitch, tempo or band leaves recognisable: constellations of peaks.

A peak is the loudest place of a whitened spectrogram within a third of a second and three semitones around it. Its
pitch is told to a ninth of a semitone, so that intervals between peaks stay what they are when a recording is played
faster or higher. Constellations are compared in catalog/matching/constellation.py.

Reference:
    Wang, "An industrial-strength audio search algorithm", ISMIR 2003, for peaks; Six, "Panako 2.0: updates for an
    acoustic fingerprinting system", ISMIR 2021 (late-breaking), for peaks on a logarithmic scale of pitch.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tasks.music.chromaprint import AcousticFingerprint
from tasks.music.signals import SAMPLE_RATE_HZ, FrameStream, Piece, PieceStream

VERSION = "peaks-1"
ALGORITHM = "peaks-1"
DECIMATION = 4
RATE_HZ = SAMPLE_RATE_HZ / DECIMATION
TAPS = 32 * DECIMATION + 1
FRAME_SAMPLES, HOP_SAMPLES = 2048, 256
HOP_S = HOP_SAMPLES / RATE_HZ  # 23 ms
LOWEST_HZ = 220.0
OCTAVES = 4
BANDS_A_SEMITONE = 2
BANDS = 12 * BANDS_A_SEMITONE * OCTAVES
STEPS_A_SEMITONE = 9
PITCH_BITS = 9  # of an item; the others count its frame
SILENCE = 1e-4
WHITE_FRAMES, WHITE_BANDS = 87, 24  # two seconds and an octave: what is subtracted as the colour of the sound
NEAR_FRAMES, NEAR_BANDS = 14, 6
LEAST_RISE_DB = 4.0  # above that colour
PIECE_FRAMES = 2_584  # a minute
CONTEXT_FRAMES = WHITE_FRAMES // 2 + NEAR_FRAMES


@dataclass
class PeakStream:
    """Finds the peaks of a recording from its blocks; they are those of one pass over the whole."""

    _frames: FrameStream = field(default_factory=lambda: FrameStream(FRAME_SAMPLES, HOP_SAMPLES), init=False)
    _pieces: PieceStream = field(default_factory=lambda: PieceStream(PIECE_FRAMES, CONTEXT_FRAMES), init=False)
    _tail: np.ndarray = field(default_factory=lambda: np.zeros(TAPS // 2, np.float32), init=False)
    _items: list[np.ndarray] = field(default_factory=list, init=False)
    _frames_done: int = field(default=0, init=False)

    def push(self, block: np.ndarray) -> None:
        """Take samples float32 (channels, n) at SAMPLE_RATE_HZ; channels are averaged."""
        self._hear(self._frames.push(self._decimate(block.mean(axis=0))))

    def finish(self) -> AcousticFingerprint:
        """The peaks in the order of time, an item each: its frame, then PITCH_BITS of pitch. The stream is spent."""
        self._hear(self._frames.push(self._decimate(np.zeros(TAPS // 2, np.float32))))
        self._hear(self._frames.finish())
        for piece in self._pieces.finish():
            self._take(piece)
        return AcousticFingerprint(ALGORITHM, np.concatenate([np.zeros(0, np.uint32), *self._items]), HOP_S)

    def _decimate(self, samples: np.ndarray) -> np.ndarray:
        from scipy.signal import upfirdn

        known = np.concatenate([self._tail, samples])
        count = max(0, (len(known) - TAPS) // DECIMATION + 1)
        self._tail = known[count * DECIMATION :]
        first = (TAPS - 1) // DECIMATION
        return upfirdn(_low_pass(), known, down=DECIMATION)[first : first + count] if count else known[:0]

    def _hear(self, frames: np.ndarray) -> None:
        if len(frames):
            for piece in self._pieces.push(measure_bands(frames)):
                self._take(piece)

    def _take(self, piece: Piece) -> None:
        frame, pitch = pick_peaks(*piece.values)
        inside = (frame >= piece.start) & (frame < piece.end)
        frame = frame[inside] - piece.start + self._frames_done
        self._items.append((frame.astype(np.uint32) << np.uint32(PITCH_BITS)) | pitch[inside].astype(np.uint32))
        self._frames_done += piece.end - piece.start


def measure_bands(frames: np.ndarray) -> np.ndarray:
    """The level of each band in dB and the pitch of its loudest bin in steps, float32 (2, BANDS, n).

    Args:
        frames: float32 (n, FRAME_SAMPLES) at RATE_HZ.
    """
    from scipy.fft import rfft

    first, width = _band_bins()
    magnitude = np.abs(rfft(frames * np.hanning(FRAME_SAMPLES).astype(np.float32), axis=1))
    bins = first[:, None] + np.arange(width.max())
    inside = np.where(np.arange(width.max()) < width[:, None], magnitude[:, bins], 0.0)
    loudest = first + inside.argmax(axis=2)
    rows = np.arange(len(frames))[:, None]
    before, here, after = (np.log(magnitude[rows, loudest + side] + 1e-6) for side in (-1, 0, 1))
    bend = before - 2 * here + after
    offset = np.where(np.abs(bend) > 1e-6, 0.5 * (before - after) / np.where(np.abs(bend) > 1e-6, bend, 1.0), 0.0)
    hz = (loudest + np.clip(offset, -0.5, 0.5)) * RATE_HZ / FRAME_SAMPLES
    level_db = 20 * np.log10(inside.max(axis=2) + SILENCE)
    pitch = np.rint(np.log2(hz / LOWEST_HZ) * 12 * STEPS_A_SEMITONE)
    return np.stack([level_db.T, pitch.T]).astype(np.float32)


def pick_peaks(level_db: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and pitches of the peaks, ordered by both; the arguments are what `measure_bands` gives."""
    from scipy.ndimage import maximum_filter, uniform_filter1d

    colour = uniform_filter1d(
        uniform_filter1d(level_db, WHITE_FRAMES, axis=1, mode="nearest"), WHITE_BANDS, axis=0, mode="nearest"
    )
    rise = level_db - colour
    highest = maximum_filter(rise, (2 * NEAR_BANDS + 1, 2 * NEAR_FRAMES + 1), mode="constant", cval=-np.inf)
    chosen = (rise >= highest) & (rise > LEAST_RISE_DB)
    chosen &= (pitch >= 0) & (pitch < OCTAVES * 12 * STEPS_A_SEMITONE)
    chosen[[0, -1]] = False
    band, frame = np.nonzero(chosen)
    order = np.lexsort([pitch[band, frame], frame])
    return frame[order], pitch[band, frame][order]


@lru_cache(maxsize=1)
def _band_bins() -> tuple[np.ndarray, np.ndarray]:
    """First bin and number of bins of each band, int64 (BANDS,)."""
    edges_hz = LOWEST_HZ * 2 ** ((np.arange(BANDS + 1) - 0.5) / (12 * BANDS_A_SEMITONE))
    edges = np.ceil(edges_hz / RATE_HZ * FRAME_SAMPLES).astype(int)
    return edges[:-1], np.maximum(1, np.diff(edges))


@lru_cache(maxsize=1)
def _low_pass() -> np.ndarray:
    from scipy.signal import firwin

    return firwin(TAPS, 0.45 * RATE_HZ, fs=SAMPLE_RATE_HZ).astype(np.float32)
