"""Removing every trace of tracks from a lake, and searching all of it afterwards. What a trace is, is decided here.

The order is: rows, indexes and stems, the past, the catalogue's own notes, the dashboard; then the search. A purge that
is killed leaves the list of what it removes in the lake's folder, and the next purge ends it first.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import unquote, urlsplit

from catalog.connection import CATALOG_FILE
from catalog.dashboard.page import FILE_NAME, publish_page
from catalog.errors import TracesLeft, UnknownId
from catalog.lake import Lake, Transaction
from catalog.matching.fingerprint_index import erase_tracks
from catalog.tables import REJECTS, RUNS, TABLES, Table

NOTE = ".purge.json"
GRACE_S = 10.0  # queries that began before the purge may take so long
PURGED = "(purged)"
ALL_BYTES = ("index", "postings")  # folders whose files are searched byte by byte
ID_COLUMNS = re.compile(r"track_id|source_song_id")


# In a process of its own: a second SQLite library in this one would give DuckDB's locks on the file away.
VACUUM = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None) as catalogue:
    catalogue.execute("VACUUM")
    catalogue.execute(f"PRAGMA busy_timeout = {sys.argv[2]}")
    catalogue.execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""


@dataclass(frozen=True)
class Traces:
    """What must not be found any more: identifiers as text, hashes of the files, and the places they were seen in."""

    tracks: list[str]
    patterns: list[str]
    sections: list[str]
    hashes: list[str]
    uris: list[str]
    stems: list[str]

    @property
    def words(self) -> list[str]:
        """Each as a column of text may hold it."""
        return [*self.tracks, *self.patterns, *self.sections, *self.hashes, *self.uris]

    @property
    def bytes(self) -> re.Pattern[bytes]:
        """All of them as any file may hold them."""
        ids = [*self.tracks, *self.patterns, *self.sections]
        forms = [word.encode() for word in self.words] + [uuid.UUID(one).bytes for one in ids]
        return re.compile(b"|".join(re.escape(form) for form in sorted(set(forms))))


def purge_tracks(lake: Lake, track_ids: Sequence[str], grace_s: float = GRACE_S) -> dict[str, int]:
    """Remove every trace of these tracks: rows, stems, index entries, and the snapshots that still hold them.

    Indexes that may hold the tracks' vectors are removed as well, and the verdicts on other tracks of their songs; the
    next nightly run makes both again. Nothing may be ingesting meanwhile. A reader in the middle of a transaction sees
    all rows as they were until the grace is over; one that goes on longer keeps traces in the catalogue.

    Args:
        lake: The lake.
        track_ids: The tracks; those of a purge that was killed are ended with them.
        grace_s: How long transactions that began before may go on, in seconds.

    Returns:
        Rows removed from each table, files removed, and files searched.

    Raises:
        UnknownId: A track that the lake does not hold.
        LakeInUse: An ingest or a nightly run is at work.
        TracesLeft: The search found something; the purge can be run again.
    """
    with lake.alone("purge"):
        traces = _find_traces(lake, list(dict.fromkeys(track_ids)))
        note = lake.folder / NOTE
        draft = note.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(traces)), encoding="utf-8")
        os.replace(draft, note)
        removed = _delete_rows(lake, traces)
        erase_tracks(lake.folder, traces.tracks)
        removed |= _remove_files(lake, traces)
        lake.forget_past(grace_s)
        _clean_catalogue(lake, grace_s)
        if (lake.folder / FILE_NAME).is_file():
            publish_page(lake.connection, lake.folder)
        left, searched = [], 0
        for place, is_clean in _search(lake, traces):
            searched += 1
            left += [] if is_clean else [place]
        if left:
            raise TracesLeft(_say_what_is_left(left))
        note.unlink()
    return removed | {"places_searched": searched}


def _find_traces(lake: Lake, ids: list[str]) -> Traces:
    """The traces of these tracks, with those that a purge which was killed has not removed."""
    note = lake.folder / NOTE
    begun = Traces(**json.loads(note.read_text(encoding="utf-8"))) if note.is_file() else None
    known = {row[0] for row in lake.connection.execute("SELECT track_id::VARCHAR FROM tracks").fetchall()}
    missing = [track for track in ids if track not in known and not (begun and track in begun.tracks)]
    if missing:
        raise UnknownId(f"The lake holds no track {missing[0]}.")

    def read(column: str, table: str) -> list[str]:
        sql = f"SELECT DISTINCT {column}::VARCHAR FROM {table} WHERE track_id IN (SELECT unnest(?::UUID[]))"
        return [value for (value,) in lake.connection.execute(sql, [ids]).fetchall() if value is not None]

    found = Traces(
        tracks=ids,
        patterns=read("pattern_id", "patterns"),
        sections=read("section_id", "sections"),
        hashes=read("file_hash", "tracks"),
        uris=read("uri", "files"),
        stems=[*read("uri", "stems"), *(uri for track in ids for uri in lake.list_stems(track))],
    )
    if begun is None:
        return found
    return Traces(
        **{name: list(dict.fromkeys([*values, *getattr(begun, name)])) for name, values in vars(found).items()}
    )


def _delete_rows(lake: Lake, traces: Traces) -> dict[str, int]:
    with lake.transaction("purge", {"tracks": len(traces.tracks)}) as change:
        removed = {table.name: _delete_from(change, table, traces) for table in TABLES}
        if traces.patterns:
            removed["index_versions"] = change.delete(
                "index_versions", "uri", change.values("SELECT uri FROM index_versions", [])
            )
        for path in [unquote(urlsplit(uri).path) for uri in traces.uris] + traces.uris:
            change.connection.execute(
                f"UPDATE {RUNS.name} SET parameters = replace(parameters, $path, $purged),"
                " message = replace(message, $path, $purged)"
                " WHERE contains(parameters, $path) OR contains(message, $path)",
                {"path": path, "purged": PURGED},
            )
    return removed


def _delete_from(change: Transaction, table: Table, traces: Traces) -> int:
    count = 0
    for column in table.columns:
        if ID_COLUMNS.search(column):
            count += change.delete(table.name, column, traces.tracks)
        elif column.startswith("pattern_id"):
            count += change.delete(table.name, column, traces.patterns)
    if table is REJECTS:
        count += change.delete(table.name, "uri", traces.uris) + change.delete(table.name, "file_hash", traces.hashes)
    return count


def _remove_files(lake: Lake, traces: Traces) -> dict[str, int]:
    indexes = [path for path in (lake.folder / "index").glob("*") if traces.patterns]
    return {
        "stem_files": sum(lake.remove_file(uri) for uri in set(traces.stems)),
        "index_files": sum(lake.remove_file(path.relative_to(lake.folder).as_posix()) for path in indexes),
    }


def _clean_catalogue(lake: Lake, grace_s: float) -> None:
    """Take values of rows that are gone out of the catalogue: its summaries of columns, and pages that are free."""
    lake.connection.execute(
        "UPDATE __ducklake_metadata_lake.ducklake_table_column_stats SET min_value = NULL, max_value = NULL"
    )
    if lake.catalog is None:
        with lake.closed():
            catalogue, wait_ms = str(lake.folder / CATALOG_FILE), str(round(grace_s * 1000))
            subprocess.run([sys.executable, "-c", VACUUM, catalogue, wait_ms], check=True)


def _say_what_is_left(places: list[str]) -> str:
    read = any(place.startswith(CATALOG_FILE) for place in places)
    cause = ": a reader that began before the purge has not ended" if read else ""
    return f"Traces are left in {', '.join(places)}{cause}. Run the same purge again."


def _search(lake: Lake, traces: Traces) -> Iterator[tuple[str, bool]]:
    """Every place that was searched, and whether it is clean: tables by their columns, other files by their bytes.

    Sound in stems and in models is not searched; their names are.
    """
    for table in TABLES:
        for path, is_clean in _search_table(lake, table, traces):
            yield os.path.relpath(path, lake.folder.resolve()), is_clean
    for path in sorted(lake.folder.rglob("*")):
        place = path.relative_to(lake.folder)
        if path.is_file() and path.name != NOTE and path.suffix != ".parquet":
            by_bytes = len(place.parts) == 1 or place.parts[0] in ALL_BYTES
            found = traces.bytes.search(path.read_bytes()) if by_bytes else None
            yield place.as_posix(), not (found or traces.bytes.search(os.fsencode(place)))


def _search_table(lake: Lake, table: Table, traces: Traces) -> Iterator[tuple[str, bool]]:
    """Every Parquet file of a table on the disk, whether or not a snapshot knows it."""
    paths = sorted(map(str, (lake.folder.resolve() / "tables").glob(f"*/{table.name}/**/*.parquet")))
    columns = [field.name for field in table.fields if field.sql_type in ("UUID", "VARCHAR")]
    if not paths:
        return
    asked = " OR ".join(f'"{column}"::VARCHAR IN (SELECT unnest($words))' for column in columns)
    stained = lake.connection.execute(
        f"SELECT DISTINCT filename FROM read_parquet($paths, union_by_name := true, filename := true,"
        f" hive_partitioning := false) WHERE {asked}",
        {"paths": paths, "words": traces.words},
    ).fetchall()
    for path in paths:
        yield path, (path,) not in stained
