"""How the lake is attached in DuckDB, and read. Writing to it is in catalog/lake.py.

Readers attach the catalogue read-only and see whole snapshots.
"""

import fcntl
import importlib
import re
import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import duckdb
import pyarrow as pa

from catalog.errors import BadQuery, LakeNotFound, OpenSecret, UnknownId, UnreadableLake, UnwritableLake

DEFAULT_LAKE = Path("data/lake")
CATALOG_FILE = "catalog.sqlite"
BUSY_TIMEOUT_MS = 60_000
PASSWORD = re.compile(r"password\s*=|://[^/@\s]*:[^/@\s]*@", re.IGNORECASE)


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
        return attach(folder, catalog, options)
    except duckdb.Error as error:
        if snapshot is not None and "No snapshot found" in str(error):
            raise UnknownId(
                f"The lake {folder} has no snapshot {snapshot}. Which it has: FROM ducklake_snapshots('lake')"
            ) from error
        if "does not exist - and creating" in str(error):  # an ingest is just making it
            raise LakeNotFound(no_lake) from error
        if catalog is None and "disk I/O error" in str(error):
            return _attach_copy(folder, options)
        raise UnreadableLake(f"The lake {folder} cannot be opened: {first_line(error)}") from error


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


def attach(folder: Path, catalog: str | None, options: list[str]) -> duckdb.DuckDBPyConnection:
    """A connection whose search path is the lake; `options` are those of DuckLake's ATTACH."""
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
        with locked(folder):
            for path in folder.glob(f"{CATALOG_FILE}*"):
                if not path.name.endswith("-shm"):  # which SQLite makes anew
                    shutil.copyfile(path, Path(copy.name) / path.name)
        connection = attach(folder, f"sqlite:{Path(copy.name) / CATALOG_FILE}", options)
    except (duckdb.Error, OSError) as error:
        copy.cleanup()
        raise UnreadableLake(
            f"The lake {folder} cannot be opened: its disk is full, and there is no room for its catalogue in "
            f"{gettempdir()} either. Make room, or set TMPDIR to a folder with room."
        ) from error
    weakref.finalize(connection, copy.cleanup)
    return connection


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lake's writer lock; the system frees it when the process dies."""
    with (folder / ".writer.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _escape(text: str) -> str:
    return text.replace("'", "''")


def first_line(error: Exception) -> str:
    """The part of DuckDB's message that says what happened."""
    return str(error).strip().splitlines()[0]
