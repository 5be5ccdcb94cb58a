"""Vectors of grooves for tests of indexes, and an index that is not in a lake."""

import numpy as np
import pyarrow as pa

from catalog.filters import TEXTS
from catalog.groove_index import GrooveIndex, build_proposer
from catalog.tables import make_id
from catalog.vectors import DIMENSIONS, shift_beats


def draw_vectors(count, seed=0, families=8):
    """Vectors of unit length around a few grooves, float32 (count, DIMENSIONS)."""
    rng = np.random.default_rng(seed)
    centres = rng.random((families, DIMENSIONS)) < 0.25
    vectors = centres[rng.integers(0, families, count)] + 0.3 * rng.random((count, DIMENSIONS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_index(vectors, kind="Flat", tracks=None, public=None):
    """An index in memory; its rows are in the order of the vectors."""
    count = len(vectors)
    rows = pa.table(
        {
            "pattern_id": sorted(make_id("pattern", number) for number in range(count)),
            "content": np.arange(count, dtype=np.uint64),
            "tempo_bpm": np.full(count, 120.0),
            "source_song_id": [str(track) for track in (range(count) if tracks is None else tracks)],
            **{name: ["x"] * count for name in TEXTS if name not in ("source_song_id", "privacy_setting")},
            "privacy_setting": ["public" if public is None or public[number] else "private" for number in range(count)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS),
        }
    )
    return GrooveIndex(rows, "drums", build_proposer(vectors, kind))


def compare(first, second):
    """The similarities of all pairs, by the definition."""
    return np.max([turned @ second.T for turned in shift_beats(first).transpose(1, 0, 2)], axis=0)
