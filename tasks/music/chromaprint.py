"""Acoustic fingerprints (Chromaprint). They are compared in catalog/duplicates.py.

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
