"""The indexes over the rhythm vectors: built, published, opened. How they are asked is in catalog/search.py.

There is one index an instrument: a table of the patterns with their vectors (an Arrow file that is mapped, never read
whole) and, from some size on, a FAISS index over its rows that proposes candidates; the vectors then judge those
exactly. Its name is made from what it holds, so that an unchanged lake builds nothing, and anybody can tell whether an
index still holds what the lake holds.

Two grooves are as similar as the cosine of their vectors where one is shifted by as many halves of a beat as make them
most alike: where a bar begins is the least certain thing that is heard, and which of two eighths is the beat the next.

Reference:
    Douze et al., "The Faiss library", arXiv 2401.08281; André, Kermarrec & Le Scouarnec, "Quicker ADC", TPAMI 2019 (the
    codes of four bits).
"""

import time
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from catalog.errors import CatalogError, MissingIndex, StaleIndex
from catalog.file_record import hash_file
from catalog.filters import Columns
from catalog.lake import Lake
from catalog.neighbours import (
    NeighbourParams,
    compute_neighbours,
    find_changes,
    forget_neighbours,
    insert_neighbours,
    update_neighbours,
)
from catalog.tables import INDEX_VERSIONS
from catalog.vectors import DIMENSIONS, SHIFTS, shift_beats

BUILD_AGAIN = "Run: midime nightly"
READ_BATCH = 50_000
PROPOSED_A_RESULT = 20  # candidates that the codes propose for each result that is wanted, at each shift
MOST_LISTS = 4  # times as many lists are searched at one shift as at the mean one
PATIENCE = 4  # times that a quarter more lists are searched before they must have paid
LEAST_GAIN = 0.001  # of recall, that so many more lists must have brought
EXACT_SHARE = 0.02  # of the vectors: so few are compared one by one
TRAINED_ON = 200_000
COMPARED_AT_ONCE = 2**24  # similarities in memory: 64 MB
LEFTOVER_AFTER_S = 86_400


@dataclass(frozen=True)
class IndexParams:
    """Which index for how many vectors, and which neighbours are kept.

    Attributes:
        flat_below: Fewer vectors are all compared.
        codes: How FAISS keeps vectors to propose candidates from.
        neighbours: Which neighbours are kept in `pattern_similarities`.
        sample: Vectors on which the recall is measured.
        wanted_recall: More lists are searched until this recall of all neighbours that are kept is reached, or more
            lists do not find more: the codes, too, miss some.
        least_recall: An index whose recall of the ten nearest is below it is not published.
    """

    flat_below: int = 20_000
    codes: str = "PQ48x4fsr"
    neighbours: NeighbourParams = field(default_factory=NeighbourParams)
    sample: int = 500
    wanted_recall: float = 0.992
    least_recall: float = 0.95


class LowRecall(CatalogError):
    """An index misses too many neighbours to be published."""


class GrooveIndex:
    """An index of one instrument: vectors that are compared, and what proposes them.

    Attributes:
        rows: Arrow table in the order of pattern_id; the columns of ROWS_SQL.
        instrument: Whose patterns they are.
        vectors: float32 (n, DIMENSIONS), of unit length; mapped where the rows are.
        proposer: A FAISS index over the row numbers; None where all vectors are compared.
        version: The row of `index_versions`; empty while it is built.
        columns: The rows as filters read them.
    """

    def __init__(self, rows: pa.Table, instrument: str, proposer: object = None, version: dict | None = None) -> None:
        self.rows, self.instrument, self.proposer, self.version = rows, instrument, proposer, version or {}
        parts = [chunk.flatten().to_numpy().reshape(-1, DIMENSIONS) for chunk in rows["vector"].chunks]
        self.vectors = parts[0] if len(parts) == 1 else np.concatenate([np.zeros((0, DIMENSIONS), np.float32), *parts])

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.rows)

    def find_rows(self, pattern_ids: Sequence[str]) -> np.ndarray:
        """The row numbers of patterns, int64; of those that are not in the index, none."""
        column, found = self.rows["pattern_id"], []
        for pattern in pattern_ids:
            number = bisect_left(range(len(self)), pattern, key=lambda number: column[number].as_py())
            if number < len(self) and column[number].as_py() == pattern:
                found.append(number)
        return np.array(found, np.int64)

    def find_nearest(
        self, queries: np.ndarray, count: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most similar rows to each vector.

        Args:
            queries: float32 (q, DIMENSIONS), of unit length.
            count: How many for each.
            allowed: Which rows may be found, bool (n,); all by default.

        Returns:
            Similarities float32 and row numbers int64, both (q, count), the best first, equals by row number; -1 where
            there are no more.
        """
        shifted = shift_beats(np.ascontiguousarray(queries, np.float32), self.instrument)
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(1, len(allowed))
        if self.proposer is None or share <= EXACT_SHARE:
            return self._compare_all(shifted, count, allowed)
        proposed = self._propose(shifted, count, allowed)
        if ((proposed >= 0).sum(axis=1) < min(count, round(share * len(self)))).any():
            return self._compare_all(shifted, count, allowed)  # too many lists hold nothing that is allowed
        scores = np.full(proposed.shape, -np.inf, np.float32)
        for number, rows in enumerate(proposed):  # one by one: their vectors stay in the cache
            known = rows >= 0
            scores[number, known] = (self.vectors[rows[known]] @ shifted[number].T).max(axis=1)
        return _take_best(scores, proposed, count)

    def _compare_all(
        self, shifted: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        vectors = self.vectors if allowed is None else self.vectors[rows]
        step = max(1, COMPARED_AT_ONCE // max(1, len(rows)))
        parts = [(np.zeros((0, count), np.float32), np.zeros((0, count), np.int64))]
        for start in range(0, len(shifted), step):
            some = shifted[start : start + step]
            scores = some[:, 0] @ vectors.T
            for halves in range(1, SHIFTS):
                np.maximum(scores, some[:, halves] @ vectors.T, out=scores)
            parts.append(_take_best(scores, np.broadcast_to(rows, scores.shape), count))
        scores, found = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(found)

    def _propose(self, shifted: np.ndarray, count: int, allowed: np.ndarray | None) -> np.ndarray:
        """Row numbers that may be among the nearest, (q, c), each once; -1 fills up."""
        # The fewer rows count, the more lists have to be looked through for as many of them.
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / len(allowed)
        lists = self._choose_lists(shifted, int(self.proposer.nprobe / np.sqrt(share)))
        wanted = min(len(self), PROPOSED_A_RESULT * count)
        scores, found = _search_lists(self.proposer, shifted.reshape(-1, DIMENSIONS), wanted, *lists, allowed)
        scores, found = scores.reshape(len(shifted), -1), found.reshape(len(shifted), -1)
        if found.shape[1] > 2 * wanted:  # of all shifts together: some are proposed twice
            best = np.argpartition(-scores, 2 * wanted, axis=1)[:, : 2 * wanted]
            found = np.take_along_axis(found, best, axis=1)
        found = np.sort(found, axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = -1
        return found

    def _choose_lists(self, shifted: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The lists that lie nearest to each query at any of its shifts, so many at the mean shift.

        Returns:
            How near they are and their numbers, -1 for none, both (q * SHIFTS, at most MOST_LISTS * count).
        """
        most = min(MOST_LISTS * count, self.proposer.nlist)
        near, lists = self.proposer.quantizer.search(shifted.reshape(-1, DIMENSIONS), most)
        of_query = near.reshape(len(shifted), -1)
        kept = min(count, most) * SHIFTS
        if kept < of_query.shape[1]:
            least = -np.partition(-of_query, kept - 1, axis=1)[:, kept - 1]
            lists[near < np.repeat(least, SHIFTS)[:, None]] = -1
        return near, lists


def _search_lists(
    proposer: object, queries: np.ndarray, count: int, near: np.ndarray, lists: np.ndarray, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What FAISS finds in these lists of each query, similarities and row numbers (q, count).

    The call of its Python layer that takes lists takes no selection of rows, so this is the one beneath it.
    """
    import faiss

    parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1])
    if allowed is not None:
        parameters.sel = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    scores, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    arrays = [faiss.swig_ptr(array) for array in (lists, near, scores, found)]
    proposer.search_preassigned_c(len(queries), faiss.swig_ptr(queries), count, *arrays, False, parameters)
    return scores, found


def _take_best(scores: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` best of each row of scores and of row numbers, both (q, n), filled up with -inf and -1."""
    missing = count - scores.shape[1]
    if missing > 0:
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
    elif missing < 0:
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    order = np.lexsort((rows, -scores), axis=1)
    scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return scores.astype(np.float32), np.where(np.isfinite(scores), rows, -1)


def refresh_indexes(lake: Lake, params: IndexParams = IndexParams()) -> list[dict]:
    """Bring the indexes and `pattern_similarities` in line with the patterns, an instrument at a time.

    Each index is built aside from one snapshot of the lake and becomes visible together with its similarities, or not
    at all. The index before it is removed then.

    Returns:
        For each instrument: instrument_type, index_version, kind, vectors, recall_at_10, similarities, and the
        outcome: `built` anew, `updated` from the one before, or `unchanged`.

    Raises:
        StaleIndex: Patterns were removed or made private while their index was built.
        LowRecall: The index misses too many neighbours; the one before it stays.
    """
    (lake.folder / "index").mkdir(exist_ok=True)
    found = lake.connection.execute("SELECT DISTINCT instrument_type FROM searchable_patterns ORDER BY 1").fetchall()
    instruments = [instrument for (instrument,) in found]
    summaries = [_refresh_index(lake, instrument, params) for instrument in instruments]
    _retire_instruments(lake, instruments)
    _remove_leftovers(lake)
    return summaries


def open_index(connection: duckdb.DuckDBPyConnection, folder: Path, instrument: str) -> GrooveIndex:
    """Map the index of an instrument, after checking that it holds what the lake holds.

    Raises:
        MissingIndex: There is none, or its file is lost or damaged.
        StaleIndex: The patterns have changed since it was built.
    """
    row = find_index(connection, instrument)
    if row is None:
        raise MissingIndex(f"No index of {instrument} patterns has been built yet. {BUILD_AGAIN}")
    path = Path(folder) / row["uri"]
    if not is_fresh(connection, row):
        raise StaleIndex(
            f"The index of {instrument} patterns was built at snapshot {row['lake_snapshot']}, and they have changed "
            f"since. {BUILD_AGAIN}"
        )
    if not path.is_file():
        raise MissingIndex(f"The index file {row['uri']} is lost. {BUILD_AGAIN}")
    try:
        return _load(path, row)
    except (pa.ArrowInvalid, OSError, RuntimeError) as error:
        raise MissingIndex(f"The index file {row['uri']} is damaged. {BUILD_AGAIN}") from error


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
    if _is_untouched_since(connection, row["lake_snapshot"]):
        return True
    count, contents = read_contents(connection, row["instrument_type"])
    name = name_index(row["instrument_type"], row["kind"], contents)
    return count == row["vectors"] and row["index_version"].startswith(name)


def read_contents(connection: duckdb.DuckDBPyConnection, instrument: str) -> tuple[int, int]:
    """How many patterns of an instrument can be searched, and a fingerprint of what an index keeps of them."""
    found = connection.execute(
        "SELECT patterns, contents FROM index_contents WHERE instrument_type = ?", [instrument]
    ).fetchone()
    return found or (0, 0)


def name_index(instrument: str, kind: str, contents: int) -> str:
    """The name of the index that holds these contents."""
    return f"{instrument}-{kind.replace(',', '-')}-{contents:016x}"


def choose_kind(vectors: int, params: IndexParams = IndexParams()) -> str:
    """Flat, or the FAISS factory string of the proposer, for so many vectors."""
    if vectors < params.flat_below:
        return "Flat"
    return f"IVF{2 ** round(np.log2(4 * np.sqrt(vectors)))},{params.codes}"


def build_proposer(vectors: np.ndarray, kind: str, before: object = None) -> object:
    """Build the FAISS index that proposes row numbers; None for the kind Flat. The same vectors give the same index.

    Args:
        vectors: float32 (n, DIMENSIONS), of unit length.
        kind: Flat or a FAISS factory string.
        before: An index of this kind, of nearly the same vectors: its lists and codes are taken over.
    """
    if kind == "Flat":
        return None
    import faiss

    if before is not None:
        index = before
        index.reset()
    else:
        index = faiss.index_factory(DIMENSIONS, kind, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter = 10
        index.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // TRAINED_ON)]))
        index.nprobe = max(1, index.nlist // 512)
    for start in range(0, len(vectors), READ_BATCH):
        index.add(np.ascontiguousarray(vectors[start : start + READ_BATCH]))
    return index


def tune_recall(index: GrooveIndex, params: IndexParams) -> float:
    """Search more lists until as many neighbours are found as are wanted, or more lists find no more of them.

    Returns:
        The recall of the ten nearest: the share of the exact ten that are found, over vectors drawn evenly; equal
        similarities count.
    """
    if index.proposer is None:
        return 1.0
    chosen = index.vectors[np.linspace(0, len(index) - 1, min(params.sample, len(index))).astype(int)]
    count = min(params.neighbours.count, len(index))
    truth, _ = GrooveIndex(index.rows, index.instrument).find_nearest(chosen, count)
    tried = []
    while True:
        found, _ = index.find_nearest(chosen, count)
        tried.append((_recall(found, truth), index.proposer.nprobe, _recall(found[:, :10], truth[:, :10])))
        recall, lists, _ = tried[-1]
        if recall >= params.wanted_recall or lists >= index.proposer.nlist:
            break
        if len(tried) > PATIENCE and recall - tried[-1 - PATIENCE][0] < LEAST_GAIN:
            tried = tried[:-PATIENCE]
            break
        index.proposer.nprobe = min(1 + lists * 5 // 4, index.proposer.nlist)
    _, index.proposer.nprobe, recall_at_10 = tried[-1]
    return recall_at_10


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of similarities, both (q, n) and the best first, that are among the n best in truth."""
    return float((found >= truth[:, -1:] - 1e-6).mean())


# What an index keeps of each pattern: its vector, what a search may filter by, and what an answer says. `content` is a
# hash of it all.
ROWS_SQL = """
SELECT pattern_id::VARCHAR AS pattern_id, section_id::VARCHAR AS section_id, track_id::VARCHAR AS track_id,
    source_song_id::VARCHAR AS source_song_id, instrument_type, corpus, tempo_bpm, time_signature, detected_key,
    detected_genre, privacy_setting, user_id, section_label, start_s, end_s, song_start_s, title, artist,
    hash(*COLUMNS(*)) AS content,
    list_transform(vector::FLOAT[], lambda x: x / sqrt(list_dot_product(vector::FLOAT[], vector::FLOAT[])))::FLOAT[96]
        AS vector
FROM searchable_patterns WHERE instrument_type = ? ORDER BY pattern_id
"""


def write_rows(connection: duckdb.DuckDBPyConnection, instrument: str, path: Path) -> tuple[int, int]:
    """Write the patterns of an instrument to an Arrow file, all from one snapshot, a batch at a time.

    Returns:
        The snapshot, and the fingerprint of the contents.
    """
    connection.execute("BEGIN")
    try:
        snapshot = connection.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchone()[0]
        _, contents = read_contents(connection, instrument)
        batches = connection.execute(ROWS_SQL, [instrument]).to_arrow_reader(READ_BATCH)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    finally:
        connection.execute("ROLLBACK")
    return snapshot, contents


def _refresh_index(lake: Lake, instrument: str, params: IndexParams) -> dict:
    count, contents = read_contents(lake.connection, instrument)
    row = find_index(lake.connection, instrument)
    wanted = name_index(instrument, choose_kind(count, params), contents) + params.neighbours.suffix
    whole = row is not None and _is_whole(lake, row)
    if whole and row["index_version"] == wanted:
        return _summarise(lake, row, "unchanged")

    beside = lake.folder / "index" / f"{uuid.uuid4()}.part"
    try:
        snapshot, contents = write_rows(lake.connection, instrument, beside)
        index = GrooveIndex(_map_rows(beside), instrument)
        kind = choose_kind(len(index), params)
        version = name_index(instrument, kind, contents) + params.neighbours.suffix
        before = _load(lake.folder / row["uri"], row) if whole else None
        changes = find_changes(lake.connection, index.rows, before.rows) if _is_like(before, kind, params) else None
        if changes and changes.share > params.neighbours.incremental_share:
            changes = None
        index.proposer = build_proposer(index.vectors, kind, before.proposer if changes else None)
        recall = tune_recall(index, params)
        if recall < params.least_recall:
            raise LowRecall(
                f"The new index of {instrument} patterns finds only {recall:.3f} of the nearest, wanted are "
                f"{params.least_recall}: it is not published, and the one before it stays."
            )
        uri = f"index/{version}.arrow"
        if index.proposer is not None:
            _write_proposer(index.proposer, _proposer_path(lake.folder / uri))
        beside.rename(lake.folder / uri)
    finally:
        beside.unlink(missing_ok=True)
    if changes:
        additions = GrooveIndex(index.rows.take(changes.fresh), index.instrument)
        additions.proposer = build_proposer(additions.vectors, choose_kind(len(additions), params))
        tune_recall(additions, params)
        update_neighbours(
            lake.connection, index, additions, changes, before.version["index_version"], params.neighbours
        )
    else:
        compute_neighbours(lake.connection, index, params.neighbours)
    row = {
        "index_version": version,
        "instrument_type": instrument,
        "kind": kind,
        "vectors": len(index),
        "dimensions": DIMENSIONS,
        "recall_at_10": recall,
        "uri": uri,
        "sha256": hash_file(lake.folder / uri),
        "size_bytes": (lake.folder / uri).stat().st_size,
        "lake_snapshot": snapshot,
        "built_at": datetime.now(UTC),
    }
    _publish(lake, row, index)
    return _summarise(lake, row, "updated" if changes else "built")


def _is_like(before: GrooveIndex | None, kind: str, params: IndexParams) -> bool:
    """Whether an index is of the kind and has the neighbours that are wanted now."""
    return (
        before is not None
        and before.version["kind"] == kind
        and before.version["index_version"].endswith(params.neighbours.suffix)
        and "content" in before.rows.column_names
    )


def _publish(lake: Lake, row: dict, index: GrooveIndex) -> None:
    """Make an index visible together with its neighbours, in place of the one before."""
    connection = lake.connection
    instrument, version = row["instrument_type"], row["index_version"]
    connection.register("published", index.rows.select(["pattern_id", "privacy_setting"]))
    with lake.transaction("publish index", {"index_version": version}) as change:
        (gone,) = change.values(
            "SELECT count(*) FROM published ANTI JOIN searchable_patterns AS now"
            " ON now.pattern_id = published.pattern_id::UUID AND now.privacy_setting = published.privacy_setting",
            [],
        )
        if gone:
            raise StaleIndex(
                f"{gone} {instrument} patterns were removed or made private while their index was built. {BUILD_AGAIN}"
            )
        before = change.values("SELECT uri FROM index_versions WHERE instrument_type = ?", [instrument])
        change.delete("index_versions", "instrument_type", [instrument])
        change.delete("pattern_similarities", "instrument_type", [instrument])
        change.insert("index_versions", INDEX_VERSIONS.make_rows([row]))
        insert_neighbours(
            connection,
            index.rows,
            {"instrument_type": instrument, "computed_at": row["built_at"], "index_version": version},
        )
    connection.unregister("published")
    forget_neighbours(connection)
    _remove_files(lake, set(before) - {row["uri"]})


def _summarise(lake: Lake, row: dict, outcome: str) -> dict:
    names = ("instrument_type", "index_version", "kind", "vectors", "recall_at_10")
    (similarities,) = lake.connection.execute(
        "SELECT count(*) FROM pattern_similarities WHERE instrument_type = ?", [row["instrument_type"]]
    ).fetchone()
    return {name: row[name] for name in names} | {"similarities": similarities, "outcome": outcome}


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
        for path in (lake.folder / uri, _proposer_path(lake.folder / uri)):
            path.unlink(missing_ok=True)


def _remove_leftovers(lake: Lake) -> None:
    """Remove index files that no row names, and that no running build can be about to publish."""
    published = {Path(uri).stem for (uri,) in lake.connection.execute("SELECT uri FROM index_versions").fetchall()}
    old = time.time() - LEFTOVER_AFTER_S
    for path in (lake.folder / "index").iterdir():
        if path.stem not in published and path.stat().st_mtime < old:
            path.unlink(missing_ok=True)


def _is_whole(lake: Lake, row: dict) -> bool:
    path = lake.folder / row["uri"]
    proposer = row["kind"] == "Flat" or _proposer_path(path).is_file()
    return proposer and path.is_file() and hash_file(path) == row["sha256"]


# What DuckLake calls a change of a table's rows; moving them between files is none.
CHANGES = (
    "tables_inserted_into",
    "tables_deleted_from",
    "tables_altered",
    "tables_dropped",
    "inlined_insert",
    "inlined_delete",
)


def _is_untouched_since(connection: duckdb.DuckDBPyConnection, snapshot: int) -> bool:
    """Whether surely no snapshot since this one changed what an index keeps."""
    known, touched = connection.execute(
        """
        WITH watched AS (
            SELECT table_id::VARCHAR AS id FROM ducklake_table_info('lake')
            WHERE table_name IN ('patterns', 'tracks', 'sections', 'song_groups')
        ), changes AS (
            SELECT snapshot_id, unnest(map_entries(changes), recursive := true) FROM ducklake_snapshots('lake')
        )
        SELECT
            (SELECT count(*) FROM ducklake_snapshots('lake') WHERE snapshot_id = $snapshot),
            (
                SELECT count(*) FROM changes
                WHERE snapshot_id > $snapshot AND key IN (SELECT unnest($keys))
                    AND list_has_any(value, (SELECT list(id) FROM watched))
            )
        """,
        {"snapshot": snapshot, "keys": list(CHANGES)},
    ).fetchone()
    return bool(known) and not touched


def _proposer_path(path: Path) -> Path:
    return path.with_suffix(".faiss")


def _map_rows(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _load(path: Path, row: dict) -> GrooveIndex:
    proposer = None
    if row["kind"] != "Flat":
        import faiss

        proposer = faiss.read_index(str(_proposer_path(path)))
    return GrooveIndex(_map_rows(path), row["instrument_type"], proposer, row)


def _write_proposer(proposer: object, path: Path) -> None:
    """Write beside the place, then move there: nobody sees half a file."""
    import faiss

    beside = path.with_suffix(".faiss.part")
    faiss.write_index(proposer, str(beside))
    beside.rename(path)
