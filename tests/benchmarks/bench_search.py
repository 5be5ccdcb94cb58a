"""How fast similar patterns are found and precomputed, in one run on one machine, against exact search and two others.

Run as a script with the folder that holds groove/ and, if need be, the sizes. The vectors are made up: the drums of
real grooves, some from another one, with hits added, missed and of other loudness; the spread of their
cosines is printed beside the real one. Times are processor time on one thread, so that a busy machine tells the same.
All pairs are extrapolated from a sample of queries, for the index as for exact search. `hnswlib` and `usearch` are
measured where they are installed (`make bench-search` does).
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from catalog.groove_index import GrooveIndex, build_proposer, tune_recall
from catalog.index import IndexParams, choose_kind
from catalog.vectors import DIMENSIONS, shift_beats
from tasks.music.patterns import ROWS
from tasks.music.vectors import centre_grids, fit_two_bars
from tests.accuracy.vectors import fold, load_performances

SIZES = (10_000, 100_000, 1_000_000)
TRAIN = Path("../shared/train")
SAMPLE = 400
GRAPHS_UP_TO = 100_000  # vectors: graphs of more take longer to build than the rest of the run
NEIGHBOURS = 20
ANOTHER_ROW = 0.25  # of the instruments of a made-up groove: played as in another groove
CHANGED = 0.04  # of the steps of a drum that a made-up groove plays: hits missed, or added
DRAWN_AT_ONCE = 100_000


def run(train_path: Path = TRAIN, sizes: tuple[int, ...] = SIZES) -> dict:
    """Measure each size.

    Returns:
        For each size the kind of index, seconds to build it, milliseconds a query at all shifts for its 20
        nearest (`index`, `exact` by FAISS, and the graphs), the hours that all pairs take, recall@20, bytes a vector
        and the most memory held; milliseconds of a filtered query; and the cosines of random pairs.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    grids = load_grids(train_path)
    figures = {"cosines_of_random_pairs": {"real": spread(centre_grids(grids)), "made_up": spread(draw(grids, 2_000))}}
    for size in sizes:
        figures[size] = measure(draw(grids, size))
    return figures


def load_grids(train_path: Path) -> np.ndarray:
    """The grooves of the data set, float32 (n, ROWS, 32)."""
    folded = [fold(performance) for performance in load_performances(train_path) if len(performance.quarter_hits)]
    return np.array([fit_two_bars(p.steps, p.steps_per_bar, p.time_signature) for p in folded if p])


def draw(grids: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Vectors of made-up grooves, float32 (count, DIMENSIONS)."""
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, count, DRAWN_AT_ONCE):
        size = min(DRAWN_AT_ONCE, count - start)
        chosen = np.repeat(random.integers(0, len(grids), (size, 1)), len(ROWS), axis=1)
        other = random.random(chosen.shape) < ANOTHER_ROW
        chosen = np.where(other, random.integers(0, len(grids), chosen.shape), chosen)
        drawn = np.stack([grids[chosen[:, row], row] for row in range(len(ROWS))], axis=1)
        changed = (random.random(drawn.shape) < CHANGED) & (drawn > 0.1).any(axis=2, keepdims=True)
        drawn = np.where(changed, np.where(drawn > 0.1, 0.0, random.uniform(0.1, 0.8, drawn.shape)), drawn)
        drawn *= random.uniform(0.7, 1.3, drawn.shape)
        parts.append(centre_grids(drawn.astype(np.float32)))
    return np.concatenate(parts)


def spread(vectors: np.ndarray) -> dict:
    """How alike random pairs are."""
    first, second = np.triu_indices(min(len(vectors), 500), 1)
    cosines = (vectors[first] * vectors[second]).sum(axis=1)
    return {f"p{share}": round(float(np.percentile(cosines, share)), 3) for share in (5, 50, 95, 99)}


def measure(vectors: np.ndarray) -> dict:
    """One size: the product's index, exact search, and the graphs."""
    size = len(vectors)
    queries = vectors[np.linspace(0, size - 1, min(SAMPLE, size)).astype(int)]
    rows = make_rows(vectors)
    params = IndexParams()
    kind = choose_kind(size, params)
    index = GrooveIndex(rows, "drums")
    build_s, index.proposer = timed(lambda: build_proposer(index.vectors, kind))
    tune_s, _ = timed(lambda: tune_recall(index, NEIGHBOURS, params.wanted_recall, params.sample))
    index_s, (_, found) = timed(lambda: index.find_nearest(queries, NEIGHBOURS))
    exact_s, truth = timed(lambda: search_exactly(vectors, queries))
    answer = {
        "kind": kind,
        "build_s": round(build_s + tune_s, 1),
        "index_ms": milliseconds(index_s, queries),
        "exact_ms": milliseconds(exact_s, queries),
        "recall_at_20": recall(found, truth),
        "all_pairs_s": {
            "index": round(build_s + tune_s + index_s / len(queries) * size),
            "exact": round(exact_s / len(queries) * size),
        },
        "code_bytes_a_vector": code_bytes(index.proposer, size),
    }
    answer["times_faster"] = round(answer["all_pairs_s"]["exact"] / max(1, answer["all_pairs_s"]["index"]), 1)
    answer["filtered_query_ms"] = measure_filtered(index)
    if size <= GRAPHS_UP_TO:
        for name, build in (("hnswlib", build_hnswlib), ("usearch", build_usearch)):
            if find_spec(name):
                answer[name] = measure_graph(build, vectors, queries, truth)
    answer["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return answer


def make_rows(vectors: np.ndarray) -> pa.Table:
    """The rows of an index with these vectors: tempi from 60 to 180 bpm, two genres, a song for each five."""
    count = len(vectors)
    names = pa.array(np.arange(count)).cast(pa.string())
    constant = {name: pa.repeat(value, count) for name, value in (("privacy_setting", "public"), ("corpus", "bench"))}
    missing = {name: pa.nulls(count, pa.string()) for name in ("user_id", "detected_key", "time_signature")}
    return pa.table(
        {
            "pattern_id": names,
            "source_song_id": pa.array(np.arange(count) // 5).cast(pa.string()),
            "tempo_bpm": np.linspace(60, 180, count),
            "detected_genre": pa.array(["rock", "jazz"]).take(pa.array(np.arange(count) % 2)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS),
        }
        | constant
        | missing
    )


def search_exactly(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The best 20 of each query at any shift, by FAISS over all vectors, (q, 20)."""
    import faiss

    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(vectors)
    scores, found = flat.search(shift_beats(queries).reshape(-1, DIMENSIONS), NEIGHBOURS)
    return merge(scores.reshape(len(queries), -1), found.reshape(len(queries), -1))


def measure_filtered(index: GrooveIndex) -> float:
    """Milliseconds of a query for 20 patterns of one genre within 20 bpm, as the search does it, the median of 20."""
    from catalog.filters import Filters

    filters, seconds = Filters(tempo=(100, 120), genres=["rock"]), []
    index.columns.equal("detected_genre", ["rock"])
    for row in np.linspace(0, len(index) - 1, 20).astype(int):
        started = time.process_time()
        allowed = filters.choose(index.columns, index.rows["source_song_id"][int(row)].as_py())
        _, found = index.find_nearest(index.vectors[row : row + 1], 32, allowed)
        index.rows.take(found[0])
        seconds.append(time.process_time() - started)
        if (found < 0).any():
            raise AssertionError("A filtered query found fewer than were asked for.")
    return round(1000 * median(seconds), 2)


def measure_graph(build: Callable, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> dict:
    """A graph over the vectors, asked at all shifts."""
    build_s, search = timed(lambda: build(vectors))
    query_s, found = timed(lambda: search(queries))
    return {
        "build_s": round(build_s, 1),
        "query_ms": milliseconds(query_s, queries),
        "recall_at_20": recall(found, truth),
        "all_pairs_s": round(build_s + query_s / len(queries) * len(vectors)),
    }


def build_hnswlib(vectors: np.ndarray) -> Callable:
    import hnswlib

    graph = hnswlib.Index("ip", DIMENSIONS)
    graph.init_index(len(vectors), M=16, ef_construction=100, random_seed=1)
    graph.set_num_threads(1)
    graph.add_items(vectors)
    graph.set_ef(100)

    def search(queries: np.ndarray) -> np.ndarray:
        found, distances = graph.knn_query(shift_beats(queries).reshape(-1, DIMENSIONS), NEIGHBOURS)
        return merge(-distances.reshape(len(queries), -1), found.astype(np.int64).reshape(len(queries), -1))

    return search


def build_usearch(vectors: np.ndarray) -> Callable:
    from usearch.index import Index

    graph = Index(ndim=DIMENSIONS, metric="ip", connectivity=16, expansion_add=100, expansion_search=100)
    graph.add(np.arange(len(vectors)), vectors, threads=1)

    def search(queries: np.ndarray) -> np.ndarray:
        found = graph.search(shift_beats(queries).reshape(-1, DIMENSIONS), NEIGHBOURS, threads=1)
        return merge(-found.distances.reshape(len(queries), -1), found.keys.astype(np.int64).reshape(len(queries), -1))

    return search


def merge(scores: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The best 20 different rows of each query's eight answers, (q, 20)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(found, order, axis=1)
    return np.array([list(dict.fromkeys(row.tolist()))[:NEIGHBOURS] for row in ranked])


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true nearest that were found."""
    shares = [len(np.intersect1d(mine, exact)) / NEIGHBOURS for mine, exact in zip(found, truth, strict=True)]
    return round(float(np.mean(shares)), 4)


def code_bytes(proposer: object, size: int) -> int | None:
    """Bytes of the FAISS file a vector; beside it lie the vectors and facts themselves, mapped."""
    import faiss

    if proposer is None:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        faiss.write_index(proposer, str(path))
        return round(path.stat().st_size / size)


def timed(work: Callable) -> tuple[float, object]:
    """Processor seconds of some work, and what it gave."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def milliseconds(seconds: float, queries: np.ndarray) -> float:
    return round(1000 * seconds / len(queries), 3)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SIZES), indent=1))
