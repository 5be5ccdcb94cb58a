"""Where the lake lies and how it is read and written. What it holds is declared in catalog/tables.py.

A lake is a folder:

    catalog.sqlite   the DuckLake catalogue: snapshots, files, views and macros (or a PostgreSQL database)
    tables/          the Parquet files, one folder a table and in it one a corpus
    stems/           FLAC files, by track
    index/           FAISS indexes
    postings/        inverted indexes of the acoustic fingerprints
    .progress/       how far the runs are that are at work
    models/          checkpoints that a user adds

Readers attach the catalogue read-only and see whole snapshots. Writers take a lock for the length of one transaction,
so that what they check is still true when they commit.

Reference: DuckLake 1.0 specification, https://ducklake.select/docs/stable/
"""

import fcntl
import hashlib
import importlib
import json
import re
import shutil
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from uuid import uuid4

import duckdb
import pyarrow as pa

from catalog.errors import BadQuery, LakeInUse, LakeNotFound, OpenSecret, UnknownId, UnreadableLake, UnwritableLake
from catalog.file_record import check_file, compare_record, hash_file, list_files, read_record
from catalog.matching.fingerprint_index import open_stores
from catalog.orphans import remove_orphans
from catalog.soundness import check_tables
from catalog.tables import BY_NAME, DATA_FILES, TABLES
from catalog.views import load_views

DEFAULT_LAKE = Path("data/lake")
CATALOG_FILE = "catalog.sqlite"
BUSY_TIMEOUT_MS = 60_000
PASSWORD = re.compile(r"password\s*=|://[^/@\s]*:[^/@\s]*@", re.IGNORECASE)
SNAPSHOT_RETENTION = timedelta(days=7)


def connect(
    lake: str | Path = DEFAULT_LAKE, catalog: str | None = None, snapshot: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the lake read-only in DuckDB, with its tables, views and macros in the search path.

    Where the lake's disk has no room at all, the connection shows the lake as it is at this moment, and stays there.

    Args:
        lake: The lake's folder.
        catalog: The catalogue when it is not the folder's own, such as `postgres:dbname=midime host=db`.
        snapshot: A snapshot to travel to; the newest by default.

    Raises:
        LakeNotFound: There is no lake in the folder.
        UnknownId: There is no such snapshot, or it has been forgotten.
        UnreadableLake: The catalogue cannot be read, or does not answer.
        OpenSecret: The catalogue's address holds a password.
    """
    folder = Path(lake)
    no_lake = f"There is no lake in {folder}. Make one with: midime ingest SRC --lake {folder}"
    if catalog is None and not (folder / CATALOG_FILE).is_file():
        raise LakeNotFound(no_lake)
    options = ["READ_ONLY"] + ([f"SNAPSHOT_VERSION {int(snapshot)}"] if snapshot is not None else [])
    try:
        return _attach(folder, catalog, options)
    except duckdb.Error as error:
        if snapshot is not None and "No snapshot found" in str(error):
            raise UnknownId(
                f"The lake {folder} has no snapshot {snapshot}. Which it has: FROM ducklake_snapshots('lake')"
            ) from error
        if "does not exist - and creating" in str(error):  # an ingest is just making it
            raise LakeNotFound(no_lake) from error
        if catalog is None and "disk I/O error" in str(error):
            return _attach_copy(folder, options)
        raise UnreadableLake(f"The lake {folder} cannot be opened: {_first_line(error)}") from error


def refuse_password(catalog: str | None) -> None:
    """Keep passwords out of addresses, which stand in messages, in logs and in lines for other clients.

    Raises:
        OpenSecret: The address holds one.
    """
    if catalog and PASSWORD.search(catalog):
        raise OpenSecret(
            "The address of the catalogue holds a password, which logs would show: "
            "take it out, and set PGPASSWORD or write it to ~/.pgpass."
        )


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
        with _locked(folder):
            try:
                connection = _attach(folder, catalog, [])
                _declare(connection)
            except duckdb.Error as error:
                raise UnwritableLake(f"The lake {folder} cannot be opened: {_first_line(error)}") from error
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
            self.connection = _attach(self.folder, self.catalog, [])

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
        with _locked(self.folder), self._disk_errors():
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
        with _attach(self.folder, self.catalog, ["READ_ONLY"]) as fresh:
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
        with self.alone("repair"), _locked(self.folder):
            removed = remove_orphans(self.folder, self.connection)
            self._record_files()
            return removed

    def compact(self, retention: timedelta = SNAPSHOT_RETENTION) -> dict[str, int]:
        """Merge small files, drop deleted rows, forget snapshots older than the retention and their files.

        Returns:
            How many files there were before and after, and how many snapshots were forgotten.
        """
        with _locked(self.folder), self._on_one_thread():
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
            with _locked(self.folder):
                self._record_files()  # a writer may have been killed between its commit and the record of its files
            records = read_record(self.connection)
        except (duckdb.Error, OSError) as error:
            problems.append(f"{DATA_FILES.name} cannot be read: {_first_line(error)}")
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
        with _locked(self.folder), self._on_one_thread():
            self.connection.execute("CALL ducklake_flush_inlined_data('lake')")
            for table in TABLES:
                self.connection.execute(
                    f"CALL ducklake_rewrite_data_files('lake', '{table.name}', delete_threshold => 0)"
                )
        time.sleep(grace_s)
        with _locked(self.folder), self._on_one_thread():
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


def read_arrow(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence | Mapping | None = None
) -> pa.Table:
    """The answer to a query as an Arrow table, with identifiers as text.

    Raises:
        BadQuery: DuckDB cannot run it; the message is DuckDB's own.
        KeyboardInterrupt: Ctrl-C while it ran.
    """
    try:
        answer = connection.execute(sql, parameters) if parameters is not None else connection.execute(sql)
        if answer is None:
            raise BadQuery("There is no statement to run.")
        table = answer.to_arrow_table()
    except duckdb.Error as error:
        raise BadQuery(str(error).strip()) from error
    except RuntimeError as error:  # what DuckDB makes of Ctrl-C
        raise KeyboardInterrupt from error
    for index, column in enumerate(table.schema):
        if isinstance(column.type, pa.UuidType):
            text = pa.array([str(value) if value else None for value in table[index].to_pylist()], pa.string())
            table = table.set_column(index, column.name, text)
    return table


@contextmanager
def one_snapshot(connection: duckdb.DuckDBPyConnection) -> Iterator[int]:
    """Read the same snapshot in all queries of the block, whatever is committed meanwhile; gives its number."""
    connection.execute("BEGIN")
    try:
        yield newest_snapshot(connection)
    finally:
        connection.execute("ROLLBACK")


def newest_snapshot(connection: duckdb.DuckDBPyConnection) -> int:
    """The snapshot that the connection reads."""
    return connection.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchone()[0]


def load_extensions(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Load DuckDB extensions from their installed wheels, so that nothing is downloaded.

    Raises:
        UnwritableLake: The wheel of an extension is not installed in DuckDB's version.
    """
    for name in names:
        package = importlib.import_module(f"duckdb_extension_{name}")
        path = Path(package.__file__).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if not path.is_file():
            raise UnwritableLake(
                f"The package duckdb-extension-{name.replace('_', '-')} does not fit DuckDB {duckdb.__version__}: "
                "install both in one version."
            )
        connection.execute(f"LOAD '{path}'")


def _attach(folder: Path, catalog: str | None, options: list[str]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
    connection.execute("SET TimeZone = 'UTC'")
    refuse_password(catalog)
    kind = catalog.split(":", 1)[0] if catalog else "sqlite"
    load_extensions(connection, f"{kind}_scanner", "ducklake")
    if kind == "sqlite":
        catalog = catalog or f"sqlite:{folder.resolve() / CATALOG_FILE}"
        options = [*options, f"META_BUSY_TIMEOUT {BUSY_TIMEOUT_MS}", "META_JOURNAL_MODE 'WAL'"]
    data_path = f"DATA_PATH '{_escape(str(folder.resolve() / 'tables'))}/', OVERRIDE_DATA_PATH true"
    connection.execute(f"ATTACH 'ducklake:{_escape(catalog)}' AS lake ({', '.join([data_path, *options])})")
    connection.execute("USE lake")
    return connection


def _attach_copy(folder: Path, options: list[str]) -> duckdb.DuckDBPyConnection:
    """Read-only from a copy of the catalogue in the temporary folder: SQLite needs room beside the file that it reads.

    The copy goes with the connection.
    """
    copy = TemporaryDirectory(prefix="midime-")
    try:
        with _locked(folder):
            for path in folder.glob(f"{CATALOG_FILE}*"):
                if not path.name.endswith("-shm"):  # which SQLite makes anew
                    shutil.copyfile(path, Path(copy.name) / path.name)
        connection = _attach(folder, f"sqlite:{Path(copy.name) / CATALOG_FILE}", options)
    except (duckdb.Error, OSError) as error:
        copy.cleanup()
        raise UnreadableLake(
            f"The lake {folder} cannot be opened: its disk is full, and there is no room for its catalogue in "
            f"{gettempdir()} either. Make room, or set TMPDIR to a folder with room."
        ) from error
    weakref.finalize(connection, copy.cleanup)
    return connection


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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lake's writer lock; the system frees it when the process dies."""
    with (folder / ".writer.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:  # DuckDB has rolled back by itself
        return


def _escape(text: str) -> str:
    return text.replace("'", "''")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
