"""Where the lake lies and how it is written and kept. How it is attached and read is in catalog/connection.py, what it
holds is declared in catalog/tables.py.

A lake is a folder:

    catalog.sqlite   the DuckLake catalogue: snapshots, files, views and macros (or a PostgreSQL database)
    tables/          the Parquet files, one folder a table and in it one a corpus
    stems/           FLAC files, by track
    index/           FAISS indexes
    postings/        inverted indexes of the acoustic fingerprints
    .progress/       how far the runs are that are at work
    models/          checkpoints that a user adds

Writers take a lock for the length of one transaction, so that what they check is still true when they commit.

Reference: DuckLake 1.0 specification, https://ducklake.select/docs/stable/
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from catalog.connection import DEFAULT_LAKE, attach, first_line, locked, newest_snapshot, read_arrow
from catalog.errors import LakeInUse, UnwritableLake
from catalog.file_record import check_file, compare_record, hash_file, list_files, read_record
from catalog.matching.fingerprint_index import open_stores
from catalog.orphans import remove_orphans
from catalog.soundness import check_tables
from catalog.tables import BY_NAME, DATA_FILES, TABLES
from catalog.views import load_views

SNAPSHOT_RETENTION = timedelta(days=7)


class Lake:
    """A lake open for writing. Use one in one thread; open another for another thread."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection, catalog: str | None = None):
        self.folder = folder
        self.connection = connection
        self.catalog = catalog

    @classmethod
    def open(cls, lake: str | Path = DEFAULT_LAKE, catalog: str | None = None) -> "Lake":
        """Open a lake for writing, and make it when there is none.

        Raises:
            UnwritableLake: The folder cannot be made or written.
        """
        folder = Path(lake)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tables").mkdir(exist_ok=True)
            with (folder / ".writer.lock").open("a"):
                pass
        except OSError as error:
            raise UnwritableLake(f"The lake {folder} cannot be written: {error.strerror}.") from error
        with locked(folder):
            try:
                connection = attach(folder, catalog, [])
                _declare(connection)
            except duckdb.Error as error:
                raise UnwritableLake(f"The lake {folder} cannot be opened: {first_line(error)}") from error
        return cls(folder, connection, catalog)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let go of the catalogue for the length of the block, so that another program can rewrite it."""
        self.connection.close()
        try:
            yield
        finally:
            self.connection = attach(self.folder, self.catalog, [])

    def __enter__(self) -> "Lake":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, sql: str, parameters: Sequence | Mapping | None = None) -> pa.Table:
        """The answer to a SELECT as an Arrow table; identifiers come as text."""
        return read_arrow(self.connection, sql, parameters)

    @property
    def snapshot(self) -> int:
        """The newest snapshot."""
        return newest_snapshot(self.connection)

    @contextmanager
    def transaction(self, message: str, extra: Mapping[str, object] | None = None) -> Iterator["Transaction"]:
        """All changes inside become visible together, or none does.

        Holds the writer's lock, so that what is read inside is still true at the commit. `message` and `extra` (as
        JSON) are kept with the snapshot, and a commit_id: by that the lake itself tells whether a commit that was
        answered with an error has happened.

        Raises:
            UnwritableLake: The disk is full, or the lake cannot be written for another reason; nothing has changed.
        """
        commit_id = uuid4().hex
        with locked(self.folder), self._disk_errors():
            self.connection.execute("BEGIN")
            try:
                yield Transaction(self.connection)
                about = json.dumps(dict(extra or {}) | {"commit_id": commit_id})
                self.connection.execute("CALL lake.set_commit_message('midime', ?, extra_info => ?)", [message, about])
                self._commit(commit_id)
            except BaseException:
                _roll_back(self.connection)
                raise
            with suppress(duckdb.Error, OSError):  # the commit stands; the next one records its files
                self._record_files()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Faults of the disk as `UnwritableLake`: DuckDB tells by the class, the SQLite catalogue in words."""
        try:
            yield
        except duckdb.Error as error:
            lines = str(error).strip().splitlines()
            if not isinstance(error, duckdb.IOException) and "disk" not in lines[-1]:
                raise
            raise UnwritableLake(
                f"The lake {self.folder} cannot be written: {lines[-1]}. "
                "What was committed stays; make room and run the same command again."
            ) from error

    def _commit(self, commit_id: str) -> None:
        try:
            self.connection.execute("COMMIT")
        except duckdb.Error:
            if not self._has_commit(commit_id):
                raise

    def _has_commit(self, commit_id: str) -> bool:
        """Whether the snapshots hold this commit, seen by a connection that had no part in it."""
        with attach(self.folder, self.catalog, ["READ_ONLY"]) as fresh:
            found = fresh.execute(
                "SELECT count(*) FROM lake.snapshots() WHERE commit_extra_info LIKE ?", [f'%"{commit_id}"%']
            )
            return bool(found.fetchone()[0])

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Say that files are being written whose rows come later, so that nobody takes them for left behind."""
        with (self.folder / ".work.lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keep ingests and nightly runs from beginning meanwhile.

        Raises:
            LakeInUse: One is at work.
        """
        with (self.folder / ".work.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LakeInUse(
                    f"An ingest or a nightly run is at work on this lake: {what} it when that has ended."
                ) from error
            yield

    def repair(self) -> dict[str, int]:
        """Remove what killed writers left, and bring the record of files in line with the lake.

        Returns:
            How many files were removed, by kind.

        Raises:
            LakeInUse: An ingest or a nightly run is at work: its files have no rows yet.
        """
        with self.alone("repair"), locked(self.folder):
            removed = remove_orphans(self.folder, self.connection)
            self._record_files()
            return removed

    def compact(self, retention: timedelta = SNAPSHOT_RETENTION) -> dict[str, int]:
        """Merge small files, drop deleted rows, forget snapshots older than the retention and their files.

        Returns:
            How many files there were before and after, and how many snapshots were forgotten.
        """
        with locked(self.folder), self._on_one_thread():
            before = len(list_files(self.connection, self.folder))
            self.connection.execute("CALL ducklake_flush_inlined_data('lake')")
            self.connection.execute("CALL ducklake_merge_adjacent_files('lake')")
            for table in TABLES:
                self.connection.execute(f"CALL ducklake_rewrite_data_files('lake', '{table.name}')")
            expired = self._expire_snapshots(retention)
            self.connection.execute(
                "CALL ducklake_cleanup_old_files('lake', older_than => ?::TIMESTAMPTZ)",
                [datetime.now(UTC) - retention],
            )
            self._record_files()
            after = len(list_files(self.connection, self.folder))
            return {"files_before": before, "files_after": after, "snapshots_forgotten": expired}

    def verify(self) -> list[str]:
        """Check each committed file against its record and each table against its declaration; a sentence a problem."""
        problems, records = [], []
        try:
            with locked(self.folder):
                self._record_files()  # a writer may have been killed between its commit and the record of its files
            records = read_record(self.connection)
        except (duckdb.Error, OSError) as error:
            problems.append(f"{DATA_FILES.name} cannot be read: {first_line(error)}")
        problems += [problem for record in records for problem in check_file(self.folder, *record)]
        recorded = {uri for uri, *_ in records}
        problems += [
            f"{uri} is in the lake but has no record."
            for uri, table in list_files(self.connection, self.folder).items()
            if uri not in recorded and table != DATA_FILES.name
        ]
        problems += check_tables(self.connection)
        problems += [problem for store in open_stores(self.folder) for problem in store.verify()]
        return problems + list(self._check_stems())

    def forget_past(self, grace_s: float = 0.0) -> None:
        """Drop deleted rows, forget all snapshots but the newest, and remove what only they knew.

        Args:
            grace_s: How long readers that began before may still use the files.
        """
        with locked(self.folder), self._on_one_thread():
            self.connection.execute("CALL ducklake_flush_inlined_data('lake')")
            for table in TABLES:
                self.connection.execute(
                    f"CALL ducklake_rewrite_data_files('lake', '{table.name}', delete_threshold => 0)"
                )
        time.sleep(grace_s)
        with locked(self.folder), self._on_one_thread():
            self._expire_snapshots(timedelta(0))
            self.connection.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)")
            remove_orphans(self.folder, self.connection)
            self._record_files()

    def remove_file(self, uri: str) -> bool:
        """Remove a file of the lake and the folders that are empty without it; whether it was there."""
        path = self.folder / uri
        if not path.is_file():
            return False
        path.unlink()
        parent = path.parent
        while parent != self.folder and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent
        return True

    def list_stems(self, track_id: str) -> list[str]:
        """The stem files of a track, also those that older snapshots refer to."""
        paths = (self.folder / "stems" / track_id[:2] / track_id).glob("*")
        return [path.relative_to(self.folder).as_posix() for path in paths]

    @contextmanager
    def _on_one_thread(self) -> Iterator[None]:
        """Keep DuckDB to the thread that calls it.

        DuckLake 1.5.5 looks for files to compact in a query inside the query; its tasks on other threads now and then
        outlive their plan, and the process dies.
        """
        self.connection.execute("SET threads = 1")
        try:
            yield
        finally:
            self.connection.execute("RESET threads")

    def _expire_snapshots(self, retention: timedelta) -> int:
        before = datetime.now(UTC) - retention
        return len(
            self.connection.execute(
                "CALL ducklake_expire_snapshots('lake', older_than => ?::TIMESTAMPTZ)", [before]
            ).fetchall()
        )

    def _record_files(self) -> None:
        """Bring `data_files` in line with the newest snapshot."""
        new, gone = compare_record(self.connection, self.folder)
        if not gone and not new:
            return
        self.connection.execute("BEGIN")
        try:
            change = Transaction(self.connection)
            change.delete(DATA_FILES.name, "uri", gone)
            change.insert(DATA_FILES.name, DATA_FILES.make_rows(new))
            self.connection.execute("COMMIT")
        except BaseException:
            _roll_back(self.connection)
            raise

    def _check_stems(self) -> Iterator[str]:
        try:
            rows = self.connection.execute(
                "SELECT uri, sha256 FROM stems WHERE uri IS NOT NULL ORDER BY uri"
            ).fetchall()
        except duckdb.Error:  # that it cannot be read has been said
            return
        for uri, sha256 in rows:
            if not (self.folder / uri).is_file():
                yield f"{uri} is missing."
            elif sha256 and hash_file(self.folder / uri) != sha256:
                yield f"{uri} has changed since it was committed."


@dataclass(frozen=True)
class Transaction:
    """Changes that become visible together; see `Lake.transaction`."""

    connection: duckdb.DuckDBPyConnection

    def insert(self, table: str, rows: pa.Table) -> None:
        """Add rows of the table's Arrow schema."""
        if len(rows):
            self.connection.register("new_rows", rows)
            self.connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
            self.connection.unregister("new_rows")

    def delete(self, table: str, column: str, values: Iterable) -> int:
        """Remove the rows whose column has one of the values; how many there were."""
        chosen = list(values)
        if not chosen:
            return 0
        self.connection.register("chosen_values", pa.table({"value": chosen}))
        sql_type = next(field.sql_type for field in BY_NAME[table].fields if field.name == column)
        count = self.connection.execute(
            f'DELETE FROM {table} WHERE "{column}" IN (SELECT value::{sql_type} FROM chosen_values)'
        ).fetchone()[0]
        self.connection.unregister("chosen_values")
        return count

    def clear(self, table: str) -> None:
        """Remove every row."""
        self.connection.execute(f"DELETE FROM {table}")

    def upsert(self, table: str, rows: pa.Table) -> None:
        """Replace the rows with the same key."""
        if not len(rows):
            return
        key = [field for field in BY_NAME[table].fields if field.name in BY_NAME[table].key]
        names = ", ".join(f'"{field.name}"' for field in key)
        values = ", ".join(f'"{field.name}"::{field.sql_type}' for field in key)
        self.connection.register("new_keys", rows)
        self.connection.execute(f"DELETE FROM {table} WHERE ({names}) IN (SELECT {values} FROM new_keys)")
        self.connection.unregister("new_keys")
        self.insert(table, rows)

    def values(self, sql: str, parameters: Sequence) -> list:
        """The first column of the answer."""
        return [row[0] for row in self.connection.execute(sql, parameters).fetchall()]


def _declare(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the lake's tables, columns, comments, views and macros in line with their declarations."""
    columns = {}
    for table, column in connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'lake'"
    ).fetchall():
        columns.setdefault(table, set()).add(column)
    fingerprint = hashlib.sha256(repr((TABLES, load_views())).encode()).hexdigest()
    newest = connection.execute(
        "SELECT count(*) FROM lake.snapshots() WHERE commit_message = ?", [f"declare {fingerprint}"]
    ).fetchone()[0]
    if newest and all(table.name in columns for table in TABLES):
        return
    connection.execute("BEGIN")
    try:
        for table in TABLES:
            if table.name not in columns:
                statements = table.create_sql()
            else:
                statements = [
                    f'ALTER TABLE {table.name} ADD COLUMN "{field.name}" {field.sql_type}'
                    for field in table.fields
                    if field.name not in columns[table.name]
                ] + table.comment_sql()
            for statement in statements:
                connection.execute(statement)
        for statement in load_views():
            connection.execute(statement)
        connection.execute("CALL lake.set_commit_message('midime', ?)", [f"declare {fingerprint}"])
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:  # DuckDB has rolled back by itself
        return
