"""The FAISS indexes over the rhythm vectors: built, published, opened. How they are searched is in catalog/search.py.

There is one index an instrument. Its name is made from what it holds, so that an unchanged lake builds nothing, and
anybody can tell whether an index still holds what the lake holds. A vector's number in the index is the front of its
pattern's identifier (`number_patterns`), so the file needs no list of identifiers beside it.

Reference:
    Douze et al., "The Faiss library", arXiv 2401.08281; Malkov & Yashunin, "Efficient and robust approximate nearest
    neighbor search using Hierarchical Navigable Small World graphs", TPAMI 2020.
"""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from catalog.errors import CatalogError, MissingIndex, StaleIndex
from catalog.lake import Lake, hash_file
from catalog.tables import INDEX_VERSIONS, make_id

DIMENSIONS = 96
BUILD_AGAIN = "Run: midime nightly"
QUERY_BATCH = 4096
GRAPH_CARE = 40  # candidates for each link; twice as many cost twice the time for less than 0.001 of recall
LEFTOVER_AFTER_S = 86_400


@dataclass(frozen=True)
class IndexParams:
    """Which index for how many vectors, and which neighbours are kept.

    Attributes:
        flat_below: Fewer vectors are searched exactly.
        ivf_from: From so many on, lists take less memory than a graph.
        graph_links: Links of a vector in the graph.
        min_similarity: Least cosine of a neighbour in `pattern_similarities`.
        neighbours: Most neighbours of a pattern there.
        sample: Vectors on which the recall is measured.
    """

    flat_below: int = 10_000
    ivf_from: int = 1_000_000
    graph_links: int = 32
    min_similarity: float = 0.7
    neighbours: int = 20
    sample: int = 200

    @property
    def suffix(self) -> str:
        """The part of an index's name that its similarities come from."""
        return f"-top{self.neighbours}-{self.min_similarity:g}"


@dataclass(frozen=True)
class Patterns:
    """The searchable patterns of one instrument, in the order of their identifiers.

    Attributes:
        pattern_ids: Text, (n,).
        tracks: The track of each as a number, int64 (n,).
        public: Whether anybody may see it, bool (n,).
        vectors: float32 (n, DIMENSIONS), of unit length.
        contents: Fingerprint of what the index holds, see `read_contents`.
        snapshot: The lake's snapshot they were read from.
    """

    pattern_ids: Sequence[str]
    tracks: np.ndarray
    public: np.ndarray
    vectors: np.ndarray
    contents: int
    snapshot: int


@dataclass(frozen=True)
class OpenIndex:
    """A FAISS index in memory, and its row of `index_versions`."""

    faiss_index: object
    index_version: str
    instrument_type: str
    kind: str
    vectors: int
    built_at: datetime

    def find_nearest(
        self, vectors: np.ndarray, count: int, numbers: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `search_index`."""
        return search_index(self.faiss_index, vectors, count, numbers)


def refresh_indexes(lake: Lake, params: IndexParams = IndexParams()) -> list[dict]:
    """Bring the indexes and `pattern_similarities` in line with the patterns, an instrument at a time.

    Each index is built aside from one snapshot of the lake and becomes visible together with its similarities, or not
    at all. The index before it is removed then.

    Returns:
        For each instrument: instrument_type, index_version, kind, vectors, recall_at_10, similarities, and whether the
        index was `built` or is still good.

    Raises:
        StaleIndex: Patterns were removed while their index was built.
    """
    (lake.folder / "index").mkdir(exist_ok=True)
    found = lake.connection.execute("SELECT DISTINCT instrument_type FROM searchable_patterns ORDER BY 1").fetchall()
    instruments = [instrument for (instrument,) in found]
    summaries = [_refresh_index(lake, instrument, params) for instrument in instruments]
    _retire_instruments(lake, instruments)
    _remove_leftovers(lake)
    return summaries


def open_index(connection: duckdb.DuckDBPyConnection, folder: Path, instrument: str) -> OpenIndex:
    """Load the index of an instrument, after checking that it holds what the lake holds.

    Raises:
        MissingIndex: There is none, or its file is lost or damaged.
        StaleIndex: The patterns have changed since it was built.
    """
    row = find_index(connection, instrument)
    if row is None:
        raise MissingIndex(f"No index of {instrument} patterns has been built yet. {BUILD_AGAIN}")
    path = Path(folder) / row["uri"]
    if not _is_whole(path, row["sha256"]):
        raise MissingIndex(f"The index file {row['uri']} is lost or damaged. {BUILD_AGAIN}")
    if not is_fresh(connection, row):
        raise StaleIndex(
            f"The index of {instrument} patterns was built at snapshot {row['lake_snapshot']}, and they have changed "
            f"since. {BUILD_AGAIN}"
        )
    import faiss

    names = ("index_version", "instrument_type", "kind", "vectors", "built_at")
    return OpenIndex(faiss.read_index(str(path)), *(row[name] for name in names))


def find_index(connection: duckdb.DuckDBPyConnection, instrument: str) -> dict | None:
    """The newest row of `index_versions` of an instrument."""
    answer = connection.execute(
        "SELECT * FROM index_versions WHERE instrument_type = ? ORDER BY built_at DESC LIMIT 1", [instrument]
    )
    names = [column[0] for column in answer.description]
    row = answer.fetchone()
    return dict(zip(names, row, strict=True)) if row else None


def is_fresh(connection: duckdb.DuckDBPyConnection, row: dict) -> bool:
    """Whether an index, given by its row, holds exactly the patterns of the lake."""
    count, contents = read_contents(connection, row["instrument_type"])
    name = name_index(row["instrument_type"], row["kind"], contents)
    return count == row["vectors"] and row["index_version"].startswith(name)


def read_contents(connection: duckdb.DuckDBPyConnection, instrument: str) -> tuple[int, int]:
    """How many patterns of an instrument can be searched, and a fingerprint of their vectors, tracks and privacy."""
    return connection.execute(
        "SELECT count(*), coalesce(bit_xor(hash(pattern_id, track_id, privacy_setting, vector)), 0)"
        " FROM searchable_patterns WHERE instrument_type = ?",
        [instrument],
    ).fetchone()


def name_index(instrument: str, kind: str, contents: int) -> str:
    """The name of the index that holds these contents."""
    return f"{instrument}-{kind.replace(',', '-')}-{contents:016x}"


def choose_kind(vectors: int, params: IndexParams = IndexParams()) -> str:
    """The FAISS factory string for so many vectors."""
    if vectors < params.flat_below:
        return "Flat"
    if vectors < params.ivf_from:
        return f"HNSW{params.graph_links}"
    lists = 2 ** round(np.log2(4 * np.sqrt(vectors)))
    return f"IVF{lists},Flat"


def build_index(vectors: np.ndarray, numbers: np.ndarray, kind: str) -> object:
    """Build a FAISS index by inner product; the same vectors give the same index.

    Args:
        vectors: float32 (n, DIMENSIONS), of unit length.
        numbers: int64 (n,), the numbers they are found by.
        kind: A FAISS factory string.
    """
    import faiss

    index = faiss.index_factory(vectors.shape[1], f"IDMap,{kind}", faiss.METRIC_INNER_PRODUCT)
    threads = faiss.omp_get_max_threads()
    if kind.startswith("HNSW"):
        faiss.omp_set_num_threads(1)  # a graph built by many threads depends on which comes first
        faiss.downcast_index(index.index).hnsw.efConstruction = GRAPH_CARE
    try:
        index.train(vectors)
        index.add_with_ids(vectors, numbers)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def search_index(
    index: object, vectors: np.ndarray, count: int, numbers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors by inner product, in an index of any of our kinds.

    Args:
        index: From `build_index`.
        vectors: float32 (n, DIMENSIONS), of unit length.
        count: How many a vector.
        numbers: Only the vectors with these numbers; all by default.

    Returns:
        Cosines float32 and numbers int64, both (n, count), the best first; -1 where there are no more.
    """
    import faiss

    inner = faiss.downcast_index(index.index)
    share = 1.0 if numbers is None else len(numbers) / index.ntotal
    selected = {} if numbers is None else {"sel": faiss.IDSelectorBatch(numbers)}
    if isinstance(inner, faiss.IndexHNSW):
        # The graph is walked through all vectors: the fewer of them count, the longer the walk.
        parameters = faiss.SearchParametersHNSW(efSearch=int(max(64, 2 * count) / share), **selected)
    elif isinstance(inner, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(
            nprobe=min(inner.nlist, int(max(8, inner.nlist // 64) / share)), **selected
        )
    else:
        parameters = faiss.SearchParameters(**selected)
    return index.search(np.ascontiguousarray(vectors, np.float32), count, params=parameters)


def number_patterns(pattern_ids: Sequence[str]) -> np.ndarray:
    """The front 63 bits of each identifier, int64 (n,): in the same order, and different for ten million by far."""
    return np.array([uuid.UUID(pattern).int >> 65 for pattern in pattern_ids], np.int64)


def bound_number(number: int) -> tuple[str, str]:
    """The lowest and the highest identifier with this number."""
    return str(uuid.UUID(int=number << 65)), str(uuid.UUID(int=((number + 1) << 65) - 1))


def measure_recall(index: object, vectors: np.ndarray, numbers: np.ndarray, sample: int) -> float:
    """Share of the exact ten nearest neighbours that an index finds, over evenly drawn vectors; equal scores count."""
    chosen = vectors[np.linspace(0, len(vectors) - 1, min(sample, len(vectors))).astype(int)]
    count = min(10, len(vectors))
    exact = build_index(vectors, numbers, "Flat")
    truth, _ = search_index(exact, chosen, count)
    found, _ = search_index(index, chosen, count)
    return float((found >= truth[:, -1:] - 1e-6).mean())


def find_neighbours(index: object, patterns: Patterns, numbers: np.ndarray, params: IndexParams) -> Iterator[pa.Table]:
    """The rows of `pattern_similarities` in batches, without index_version, instrument and time.

    A pattern's neighbours are public patterns of other tracks.
    """
    _, sizes = np.unique(patterns.tracks, return_counts=True)
    visible = None if patterns.public.all() else numbers[patterns.public]
    candidates = int(patterns.public.sum())
    count = min(candidates, params.neighbours + int(sizes.max(initial=0)))
    asking = np.flatnonzero(patterns.public)
    for start in range(0, len(asking), QUERY_BATCH):
        rows = asking[start : start + QUERY_BATCH]
        scores, found = search_index(index, patterns.vectors[rows], count, visible)
        others = np.searchsorted(numbers, found)
        kept = (found >= 0) & (scores >= params.min_similarity)
        kept &= patterns.tracks[np.where(found >= 0, others, 0)] != patterns.tracks[rows][:, None]
        kept &= np.cumsum(kept, axis=1) <= params.neighbours
        left, place = np.nonzero(kept)
        ids_1 = [patterns.pattern_ids[row] for row in rows[left]]
        ids_2 = [patterns.pattern_ids[other] for other in others[left, place]]
        yield pa.table(
            {
                "similarity_id": [make_id("similarity", *pair) for pair in zip(ids_1, ids_2, strict=True)],
                "pattern_id_1": ids_1,
                "pattern_id_2": ids_2,
                "similarity_score": scores[left, place].clip(-1, 1),
            }
        )


def read_patterns(connection: duckdb.DuckDBPyConnection, instrument: str) -> Patterns:
    """The searchable patterns of an instrument, all from one snapshot."""
    connection.execute("BEGIN")
    try:
        snapshot = connection.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchone()[0]
        _, contents = read_contents(connection, instrument)
        rows = connection.execute(
            "SELECT pattern_id::VARCHAR AS pattern_id, dense_rank() OVER (ORDER BY track_id) AS track,"
            " privacy_setting = 'public' AS public, vector"
            " FROM searchable_patterns WHERE instrument_type = ? ORDER BY pattern_id",
            [instrument],
        ).to_arrow_table()
    finally:
        connection.execute("ROLLBACK")
    vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(-1, DIMENSIONS)
    return Patterns(
        pattern_ids=rows["pattern_id"].to_pylist(),
        tracks=rows["track"].to_numpy(),
        public=rows["public"].fill_null(False).to_numpy(zero_copy_only=False),
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        contents=contents,
        snapshot=snapshot,
    )


def _refresh_index(lake: Lake, instrument: str, params: IndexParams) -> dict:
    count, contents = read_contents(lake.connection, instrument)
    row = find_index(lake.connection, instrument)
    wanted = name_index(instrument, choose_kind(count, params), contents) + params.suffix
    if row and row["index_version"] == wanted and _is_whole(lake.folder / row["uri"], row["sha256"]):
        return _summarise(lake, row, built=False)

    patterns = read_patterns(lake.connection, instrument)
    kind = choose_kind(len(patterns.vectors), params)
    version = name_index(instrument, kind, patterns.contents) + params.suffix
    numbers = number_patterns(patterns.pattern_ids)
    if (np.diff(numbers) <= 0).any():
        raise CatalogError(f"Two {instrument} patterns share the front of their identifiers and cannot be indexed.")
    index = build_index(patterns.vectors, numbers, kind)
    uri = f"index/{version}.faiss"
    _write_index(index, lake.folder / uri)
    row = {
        "index_version": version,
        "instrument_type": instrument,
        "kind": kind,
        "vectors": len(numbers),
        "dimensions": DIMENSIONS,
        "recall_at_10": measure_recall(index, patterns.vectors, numbers, params.sample),
        "uri": uri,
        "sha256": hash_file(lake.folder / uri),
        "lake_snapshot": patterns.snapshot,
        "built_at": datetime.now(UTC),
    }
    _publish(lake, row, patterns, find_neighbours(index, patterns, numbers, params))
    return _summarise(lake, row, built=True)


def _publish(lake: Lake, row: dict, patterns: Patterns, neighbours: Iterator[pa.Table]) -> None:
    """Make an index visible together with its similarities, in place of the one before."""
    connection = lake.connection
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {FRESH} ({FRESH_COLUMNS})")
    for batch in neighbours:
        connection.register("neighbour_batch", batch)
        connection.execute(f"INSERT INTO {FRESH} BY NAME SELECT * FROM neighbour_batch")
        connection.unregister("neighbour_batch")
    instrument, version = row["instrument_type"], row["index_version"]
    connection.register("indexed", pa.table({"pattern_id": patterns.pattern_ids}))
    with lake.transaction("publish index", {"index_version": version}) as change:
        (gone,) = change.values(
            "SELECT count(*) FROM indexed WHERE pattern_id::UUID NOT IN (SELECT pattern_id FROM patterns)", []
        )
        if gone:
            raise StaleIndex(f"{gone} {instrument} patterns were removed while their index was built. {BUILD_AGAIN}")
        before = change.values("SELECT uri FROM index_versions WHERE instrument_type = ?", [instrument])
        change.delete("index_versions", "instrument_type", [instrument])
        change.delete("pattern_similarities", "instrument_type", [instrument])
        change.insert("index_versions", INDEX_VERSIONS.make_rows([row]))
        connection.execute(
            "INSERT INTO pattern_similarities BY NAME SELECT *, ? AS instrument_type, ?::TIMESTAMPTZ AS computed_at,"
            f" ? AS index_version FROM {FRESH}",
            [instrument, row["built_at"], version],
        )
    connection.unregister("indexed")
    connection.execute(f"DROP TABLE {FRESH}")
    _remove_files(lake, set(before) - {row["uri"]})


def _summarise(lake: Lake, row: dict, built: bool) -> dict:
    names = ("instrument_type", "index_version", "kind", "vectors", "recall_at_10")
    (similarities,) = lake.connection.execute(
        "SELECT count(*) FROM pattern_similarities WHERE instrument_type = ?", [row["instrument_type"]]
    ).fetchone()
    return {name: row[name] for name in names} | {"similarities": similarities, "built": built}


def _retire_instruments(lake: Lake, instruments: Sequence[str]) -> None:
    """Remove the rows of instruments that have no patterns any more."""
    rows = lake.connection.execute("SELECT DISTINCT instrument_type FROM index_versions").fetchall()
    retired = [instrument for (instrument,) in rows if instrument not in instruments]
    if retired:
        with lake.transaction("retire index", {"instruments": retired}) as change:
            before = change.values(
                "SELECT uri FROM index_versions WHERE instrument_type IN (SELECT unnest(?))", [retired]
            )
            change.delete("index_versions", "instrument_type", retired)
            change.delete("pattern_similarities", "instrument_type", retired)
        _remove_files(lake, before)


def _remove_files(lake: Lake, uris: Iterable[str]) -> None:
    for uri in uris:
        (lake.folder / uri).unlink(missing_ok=True)


def _remove_leftovers(lake: Lake) -> None:
    """Remove index files that no row names, and that no running build can be about to publish."""
    published = {uri for (uri,) in lake.connection.execute("SELECT uri FROM index_versions").fetchall()}
    old = time.time() - LEFTOVER_AFTER_S
    for path in (lake.folder / "index").iterdir():
        if f"index/{path.name}" not in published and path.stat().st_mtime < old:
            path.unlink(missing_ok=True)


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hash_file(path) == sha256


def _write_index(index: object, path: Path) -> None:
    """Write beside the place, then move there: nobody sees half a file."""
    import faiss

    beside = path.with_suffix(f".{os.getpid()}.part")
    faiss.write_index(index, str(beside))
    os.replace(beside, path)


FRESH = "fresh_similarities"
FRESH_COLUMNS = "similarity_id UUID, pattern_id_1 UUID, pattern_id_2 UUID, similarity_score FLOAT"
