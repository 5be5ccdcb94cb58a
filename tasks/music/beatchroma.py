"""The harmony of a recording from half beat to half beat, by which other recordings of the same song are recognised.

The chroma is that of the key (key.py), the beats are those of beats.py: nothing is transformed again. What is made here
is compared in catalog/matching/beat_chroma.py.

Reference:
    Ellis & Poliner, "Identifying 'cover songs' with chroma features and dynamic programming beat tracking", ICASSP
    2007, for chroma that follows the beat.
"""

import numpy as np

from tasks.music.chromaprint import AcousticFingerprint
from tasks.music.key import Chroma, KeyParams

VERSION = "half-beats-1"
ALGORITHM = "beat-chroma-1"
HOP_S = 0.001  # unit of the times in the items
PARTS_A_BEAT = 2
MIN_BEATS = 32  # eight bars: less is a phrase, which many songs have
LEVELS = 15  # four bits a pitch class
MAX_PART = 0xFFFF


def fold_beats(chroma: Chroma, time_s: np.ndarray) -> AcousticFingerprint:
    """Fold the chroma of a recording by its beats.

    Args:
        chroma: Of the whole track.
        time_s: float (beats,), ascending, seconds.

    Returns:
        The start of the first beat in milliseconds; then two items a half beat: the pitch classes C to G, four bits
        each, C lowest; and G# to B above the length of the half beat, 16 bits of milliseconds. The strongest pitch
        class of a half beat has 15. No items for drums alone and below `MIN_BEATS`.
    """
    if len(time_s) < MIN_BEATS or chroma.tonality < KeyParams.min_tonality:
        return AcousticFingerprint(ALGORITHM, np.zeros(0, np.uint32), HOP_S)
    beats_s = np.append(time_s, 2 * time_s[-1] - time_s[-2])
    parts = np.arange(PARTS_A_BEAT * len(time_s) + 1) / PARTS_A_BEAT
    edges_s = np.interp(parts, np.arange(len(beats_s)), beats_s)
    level = np.maximum(chroma.sum_between(edges_s), 0.0) / np.diff(edges_s)
    loudest = np.maximum(level.max(axis=0), 1e-9)
    return AcousticFingerprint(ALGORITHM, pack_levels(np.rint(LEVELS * level / loudest), edges_s), HOP_S)


def pack_levels(level: np.ndarray, edges_s: np.ndarray) -> np.ndarray:
    """The items of half beats: levels (12, n), 0 to LEVELS, and where each begins and the last one ends, (n + 1,)."""
    edges = np.rint(edges_s / HOP_S).astype(np.int64)
    nibbles = level.astype(np.int64) << (4 * (np.arange(12) % 8))[:, None]
    length = np.clip(np.diff(edges), 1, MAX_PART)
    pairs = np.stack([nibbles[:8].sum(axis=0), length | (nibbles[8:].sum(axis=0) << 16)], axis=1)
    return np.concatenate([[max(0, edges[0])], pairs.ravel()]).astype(np.uint32)
