"""How fast similar patterns are found and precomputed, against comparing each with each, in one run on one machine.

Run as a script with the sizes (10000 and 100000 by default). The vectors are made up: variations of many grooves, with
lengths and a spread as those of real drum patterns.
"""

import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from catalog.index import DIMENSIONS, build_index, choose_kind, find_index, refresh_indexes, search_index
from catalog.lake import Lake, connect
from catalog.search import EXACT_BELOW, search_patterns
from catalog.tables import make_id

SIZES = (10_000, 100_000)
EXACT_SAMPLE = 2_000
QUERIES = 20
PATTERNS_A_TRACK = 5


def run(sizes: tuple[int, ...] = SIZES) -> dict:
    """Measure each size.

    Returns:
        For each size: `neighbours` (building the index, its 20 nearest of every vector, against exact search, and
        recall@20), `nightly_s` (the whole station, publication included), `file_bytes` a vector, and the median of
        one search in milliseconds `exact_ms` and `index_ms`.
    """
    return {size: {"neighbours": measure_neighbours(size)} | measure_lake(size) for size in sizes}


def draw_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Variations of grooves, less the average groove, float32 (count, DIMENSIONS) of unit length."""
    rng = np.random.default_rng(seed)
    grooves = (rng.random((max(50, count // 50), DIMENSIONS)) < 0.3) * rng.uniform(0.5, 1, DIMENSIONS)
    vectors = grooves[rng.integers(0, len(grooves), count)]
    vectors = np.where(rng.random(vectors.shape) < 0.08, 1 - vectors, vectors) + rng.normal(0, 0.1, vectors.shape)
    vectors -= vectors.mean(axis=0)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def measure_neighbours(size: int) -> dict:
    """The 20 nearest of every vector by the index that is chosen for the size, and by exact search of a sample."""
    vectors, numbers = draw_vectors(size), np.arange(size, dtype=np.int64)
    kind = choose_kind(size)
    started = time.perf_counter()
    index = build_index(vectors, numbers, kind)
    found = _find_all(index, vectors)
    seconds = time.perf_counter() - started

    sample = vectors[:: max(1, size // EXACT_SAMPLE)]
    flat = build_index(vectors, numbers, "Flat")
    started = time.perf_counter()
    truth = _find_all(flat, sample)
    exact_s = (time.perf_counter() - started) * size / len(sample)
    found = found[:: max(1, size // EXACT_SAMPLE)]
    hits = [len(np.intersect1d(mine, exact)) / 20 for mine, exact in zip(found, truth, strict=True)]
    return {
        "kind": kind,
        "index_s": round(seconds, 1),
        "exact_s": round(exact_s, 1),
        "times_faster": round(exact_s / seconds, 1),
        "recall_at_20": round(float(np.mean(hits)), 4),
    }


def measure_lake(size: int) -> dict:
    """The nightly station and single searches, on a lake."""
    with TemporaryDirectory() as folder, Lake.open(folder) as lake:
        ids = _fill(lake, draw_vectors(size))
        started = time.perf_counter()
        refresh_indexes(lake)
        nightly_s = time.perf_counter() - started
        file_bytes = (Path(folder) / find_index(lake.connection, "drums")["uri"]).stat().st_size
        with connect(folder) as reader:
            exact_ms = _time_searches(reader, folder, ids, exact_below=size + 1)
            index_ms = _time_searches(reader, folder, ids, exact_below=EXACT_BELOW // 2)
    return {
        "nightly_s": round(nightly_s, 1),
        "file_bytes": round(file_bytes / size),
        "exact_ms": exact_ms,
        "index_ms": index_ms,
    }


def _find_all(index: object, vectors: np.ndarray) -> np.ndarray:
    return search_index(index, vectors, 20)[1]


def _fill(lake: Lake, vectors: np.ndarray) -> list[str]:
    ids = [make_id("pattern", number) for number in range(len(vectors))]
    tracks = [make_id("track", number // PATTERNS_A_TRACK) for number in range(len(vectors))]
    flat = pa.array(vectors.ravel())
    offsets = pa.array(np.arange(0, vectors.size + 1, DIMENSIONS, dtype=np.int32))
    patterns = {
        "corpus": ["bench"] * len(ids),
        "pattern_id": ids,
        "track_id": tracks,
        "instrument_type": ["drums"] * len(ids),
        "tempo_bpm": np.linspace(60, 180, len(ids)),
        "fingerprint": pa.ListArray.from_arrays(offsets, flat),
    }
    own = sorted(set(tracks))
    with lake.transaction("bench") as change:
        change.insert("patterns", pa.table(patterns))
        public = {"corpus": ["bench"] * len(own), "track_id": own, "privacy_setting": ["public"] * len(own)}
        change.insert("tracks", pa.table(public))
    return ids


def _time_searches(reader, folder: str, ids: list[str], exact_below: int) -> float:
    """Median time of one search, in milliseconds."""
    seconds = []
    for pattern in ids[:: max(1, len(ids) // QUERIES)]:
        started = time.perf_counter()
        search_patterns(reader, Path(folder), pattern_id=pattern, exact_below=exact_below)
        seconds.append(time.perf_counter() - started)
    return round(1000 * median(seconds), 1)


if __name__ == "__main__":
    for size, figures in run(tuple(map(int, sys.argv[1:])) or SIZES).items():
        print(size, figures)
