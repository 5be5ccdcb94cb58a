"""Acoustic fingerprints (Chromaprint) and the alignment of two of them. What is a duplicate is decided elsewhere.

A fingerprint is one 32-bit item for every 0.124 s, made from 2.6 s of audio. Two recordings share audio where their
items, laid over each other at one offset, differ in few bits: equal audio in 0 %, a lossy copy in 1 to 15 %, unrelated
audio in 50 % (a little less, since music resembles music).

Reference:
    L. Lalinsky, "How does Chromaprint work?", 2011; Haitsma & Kalker, "A highly robust audio fingerprinting system",
    ISMIR 2002.
"""

from dataclasses import dataclass, field

import numpy as np

from tasks.music.signals import SAMPLE_RATE_HZ

VERSION = "chromaprint-1"
ALGORITHM = "chromaprint-test2"
ITEM_HOP_S = 1365 / 11_025  # Chromaprint's own hop at its own rate
ITEM_BITS = 32
STATIC_RUN_ITEMS = 8  # a second of equal items: silence or a steady tone
MIN_USABLE_ITEMS = 24  # with fewer there is nothing to recognise a recording by
MIN_DISTINCT_ITEMS = 12


class ChromaprintMissing(RuntimeError):
    """The system library behind the fingerprints is not installed."""


@dataclass(frozen=True)
class AcousticFingerprint:
    """The fingerprint of a whole recording.

    Attributes:
        algorithm: Name of the algorithm; only fingerprints of one algorithm are comparable.
        items: uint32 (n,); empty below about 3 s of audio.
        hop_s: Seconds between items.
        usable: Whether there are enough changing items to recognise the recording by.
    """

    algorithm: str
    items: np.ndarray
    hop_s: float = ITEM_HOP_S

    @property
    def usable(self) -> bool:
        kept = self.items[find_changing_items(self.items)]
        return len(kept) >= MIN_USABLE_ITEMS and len(np.unique(kept)) >= MIN_DISTINCT_ITEMS


@dataclass(frozen=True)
class MatchParams:
    """Limits of `match_fingerprints`."""

    min_overlap_s: float = 5.0  # shorter overlaps agree by chance
    hop_s: float = ITEM_HOP_S


@dataclass(frozen=True)
class FingerprintMatch:
    """The best alignment of two fingerprints.

    Attributes:
        score: Share of equal bits over the changing items of the overlap, 0 without one. Among 50 recordings, unrelated
            pairs reached 0.67 at most, a song and its karaoke mix 0.77, and excerpts of 15 s with noise 10 dB below
            them 0.87 at least.
        overlap_s: Seconds of the overlap that were compared: static items are left out.
        offset_s: Where the second recording's start lies in the first; None without an overlap.
    """

    score: float
    overlap_s: float
    offset_s: float | None


@dataclass
class ChromaprintStream:
    """Builds the fingerprint from blocks of audio at SAMPLE_RATE_HZ, over the whole length."""

    _printer: object = field(init=False)
    _channels: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._printer = _import_library().Fingerprinter()

    def push(self, block: np.ndarray) -> None:
        """Take float32 samples (channels, n), one or two channels and always as many."""
        if not self._channels:
            self._channels = block.shape[0]
            self._printer.start(SAMPLE_RATE_HZ, self._channels)
        pcm = np.rint(np.clip(block.T, -1.0, 1.0) * 32_767).astype("<i2")
        if pcm.size:
            self._printer.feed(pcm.tobytes())

    def finish(self) -> AcousticFingerprint:
        """The fingerprint of everything pushed, without items below about 3 s; the stream is spent."""
        if not self._channels:
            return AcousticFingerprint(ALGORITHM, np.zeros(0, np.uint32))
        items, _ = _import_library().decode_fingerprint(self._printer.finish())
        return AcousticFingerprint(ALGORITHM, np.array(items, np.uint32))


def find_changing_items(items: np.ndarray) -> np.ndarray:
    """Mark the items outside static runs, bool (n,).

    Silence and steady tones repeat one item for seconds. Such runs equal those of any other silent or steady recording,
    so they say nothing about which recording it is.
    """
    if not len(items):
        return np.zeros(0, bool)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(items)) + 1, [len(items)]])
    lengths = np.diff(edges)
    return np.repeat(lengths < STATIC_RUN_ITEMS, lengths)


def match_fingerprints(
    items_1: np.ndarray, items_2: np.ndarray, params: MatchParams = MatchParams()
) -> FingerprintMatch:
    """Lay two fingerprints over each other at the offset where they agree best.

    The agreement is known at every offset at once, as a cross-correlation of the bits (by FFT). The best offset is the
    one that is least likely by chance: agreement above one half, times the square root of the overlap.

    Args:
        items_1: uint32 (n,), a fingerprint.
        items_2: uint32 (m,), a fingerprint of the same algorithm.
        params: The shortest overlap that counts.

    Returns:
        The best alignment; score 0 and no offset where no overlap of changing items is long enough.
    """
    mask_1, mask_2 = find_changing_items(items_1), find_changing_items(items_2)
    min_items = int(np.ceil(params.min_overlap_s / params.hop_s))
    if min(mask_1.sum(), mask_2.sum()) < min_items:
        return FingerprintMatch(0.0, 0.0, None)

    agreement, overlap = _correlate(items_1, mask_1, items_2, mask_2)
    enough = overlap >= min_items
    if not enough.any():
        return FingerprintMatch(0.0, 0.0, None)
    surprise = np.where(enough, (agreement - 0.5) * np.sqrt(overlap), -np.inf)
    best = int(np.argmax(surprise))
    offset_items = best - (len(items_2) - 1)
    return FingerprintMatch(
        score=float(np.clip(agreement[best], 0.0, 1.0)),
        overlap_s=float(overlap[best] * params.hop_s),
        offset_s=float(offset_items * params.hop_s),
    )


def _correlate(
    items_1: np.ndarray, mask_1: np.ndarray, items_2: np.ndarray, mask_2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of equal bits and compared items at each offset from -(m - 1) to n - 1, both (n + m - 1,)."""
    from scipy.fft import irfft, next_fast_len, rfft

    length = len(items_1) + len(items_2) - 1
    size = next_fast_len(length, real=True)

    def correlate(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return rfft(left.astype(np.float32), size) * rfft(right[::-1].astype(np.float32), size)

    overlap = np.rint(irfft(correlate(mask_1, mask_2), size)[:length]).astype(int)
    spectrum = sum(correlate(_signs(items_1, bit) * mask_1, _signs(items_2, bit) * mask_2) for bit in range(ITEM_BITS))
    balance = irfft(spectrum, size)[:length]  # equal bits minus unequal bits
    return 0.5 + 0.5 * balance / (ITEM_BITS * np.maximum(overlap, 1)), overlap


def _signs(items: np.ndarray, bit: int) -> np.ndarray:
    return (((items >> np.uint32(bit)) & np.uint32(1)).astype(np.int8) * 2 - 1).astype(np.float32)


def _import_library():
    """The module of pyacoustid that loads libchromaprint."""
    try:
        import chromaprint
    except ImportError as error:
        raise ChromaprintMissing(
            "The system library libchromaprint is missing. Install it: apt install libchromaprint1 (Debian, Ubuntu), "
            "brew install chromaprint (macOS)."
        ) from error
    return chromaprint
