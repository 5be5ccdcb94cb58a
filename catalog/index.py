"""The indexes over the rhythm vectors: built, published, opened. How they are asked is in catalog/search.py.

There is one index an instrument (catalog/groove_index.py): a table of the patterns with their vectors (an Arrow file
that is mapped, never read whole) and, from some size on, a FAISS index over its rows. Its name is made from what it
holds, so that an unchanged lake builds nothing, and anybody can tell whether an index still holds what the lake holds.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from catalog.errors import CatalogError, MissingIndex, StaleIndex
from catalog.file_record import hash_file
from catalog.groove_index import GrooveIndex, build_proposer, tune_recall
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
from catalog.vectors import DIMENSIONS

BUILD_AGAIN = "Run: midime nightly"
READ_BATCH = 50_000
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
        recall = tune_recall(index, params.neighbours.count, params.wanted_recall, params.sample)
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
        tune_recall(additions, params.neighbours.count, params.wanted_recall, params.sample)
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
