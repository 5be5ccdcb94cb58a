"""The record of the lake's Parquet files, `data_files`: which there are, and by which hash each was committed."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from catalog.tables import DATA_FILES

TABLES_FOLDER = "tables"

# Every file of the newest snapshot, of rows and of their deletions. `ducklake_list_files` says the same of one table at
# a time, and every commit asks for all.
# Reference: DuckLake 1.0 specification, tables ducklake_data_file and ducklake_delete_file.
LIST_FILES = """
    WITH files AS (
        SELECT table_id, path, path_is_relative
        FROM __ducklake_metadata_lake.ducklake_data_file
        WHERE end_snapshot IS NULL
        UNION ALL
        SELECT deletions.table_id, deletions.path, deletions.path_is_relative
        FROM __ducklake_metadata_lake.ducklake_delete_file AS deletions
        JOIN __ducklake_metadata_lake.ducklake_data_file AS rows USING (data_file_id)
        WHERE deletions.end_snapshot IS NULL AND rows.end_snapshot IS NULL
    )
    SELECT
        CASE WHEN files.path_is_relative THEN schemas.path || tables.path || files.path ELSE files.path END,
        tables.table_name
    FROM files
    JOIN __ducklake_metadata_lake.ducklake_table AS tables USING (table_id)
    JOIN __ducklake_metadata_lake.ducklake_schema AS schemas USING (schema_id)
    WHERE tables.end_snapshot IS NULL
"""


def list_files(connection: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, str]:
    """Every file of the newest snapshot, of rows and of their deletions: its place in the lake, and its table."""
    top = folder / TABLES_FOLDER
    found = connection.execute(LIST_FILES).fetchall()
    return {(top / path).relative_to(folder).as_posix(): table for path, table in found}


def read_record(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    """uri, table_name, rows, size_bytes and sha256 of each recorded file."""
    return connection.execute("SELECT uri, table_name, rows, size_bytes, sha256 FROM data_files").fetchall()


def compare_record(connection: duckdb.DuckDBPyConnection, folder: Path) -> tuple[list[dict], list[str]]:
    """What the record lacks, as rows of `data_files`, and the places that it has and the newest snapshot has not."""
    current = list_files(connection, folder)
    recorded = {uri for uri, *_ in read_record(connection)}
    now = datetime.now(UTC)
    new = [
        {"uri": uri, "table_name": table, "recorded_at": now} | measure_file(folder / uri)
        for uri, table in current.items()
        if uri not in recorded and table != DATA_FILES.name and (folder / uri).is_file()
    ]
    return new, [uri for uri in recorded if uri not in current]


def check_file(folder: Path, uri: str, table: str, rows: int, size_bytes: int, sha256: str) -> Iterator[str]:
    """A sentence for what is wrong with a file against its record."""
    path = folder / uri
    if not path.is_file():
        yield f"{uri} of {table} is missing."
        return
    if path.stat().st_size != size_bytes or hash_file(path) != sha256:
        yield f"{uri} of {table} has changed since it was committed."
    elif (found := measure_file(path)["rows"]) != rows:
        yield f"{uri} of {table} holds {found} rows; {rows} were committed."


def measure_file(path: Path) -> dict:
    """rows, size_bytes and sha256 of a Parquet file."""
    import pyarrow.parquet as pq

    return {
        "rows": pq.ParquetFile(path).metadata.num_rows,
        "size_bytes": path.stat().st_size,
        "sha256": hash_file(path),
    }


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
