"""Whether the tables of a lake are as they are declared: their columns, keys, values and references.

The files that they lie in are checked by `Lake.verify`.
"""

from collections.abc import Iterator

import duckdb

from catalog.tables import TABLES, Table

SHARES = ("confidence", "quality_score", "similarity_score", "recall_at_10")
"""Ends of the names of columns that hold a share from 0 to 1."""

ROUNDING = 1e-4  # a cosine of floats may lie as much beyond 1
PARENTS = {"track_id": "tracks", "parent_track_id": "tracks", "section_id": "sections"}
KEYS = {"tracks": "track_id", "sections": "section_id"}
"""The tables whose keys these columns hold, and those keys. Patterns are left out: their neighbours follow at night."""


def check_tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A sentence for each way in which a table is not as it is declared."""
    problems = []
    for table in TABLES:
        try:
            problems += [*_check_columns(connection, table), *_check_rows(connection, table)]
        except duckdb.Error as error:
            problems.append(f"{table.name} cannot be read: {str(error).strip().splitlines()[0]}")
    return problems


def _check_columns(connection: duckdb.DuckDBPyConnection, table: Table) -> Iterator[str]:
    found = dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'lake' AND table_name = ?",
            [table.name],
        ).fetchall()
    )
    for field in table.fields:
        declared = field.sql_type.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")
        if field.name not in found:
            yield f"{table.name} has no column {field.name}."
        elif found[field.name] != declared:
            yield f"{table.name}.{field.name} is {found[field.name]} and declared as {declared}."


def _check_rows(connection: duckdb.DuckDBPyConnection, table: Table) -> Iterator[str]:
    keys = ", ".join(f'"{column}"' for column in table.key)
    rules = {
        f"keys ({', '.join(table.key)}) more than once": f"SELECT {keys} FROM {table.name} GROUP BY ALL"
        " HAVING count(*) > 1",
        "rows without a key": f"FROM {table.name} WHERE " + " OR ".join(f'"{column}" IS NULL' for column in table.key),
    }
    for column in table.columns:
        parent = PARENTS.get(column.removesuffix("_1").removesuffix("_2"))
        if parent and (table.name, column) != (parent, KEYS[parent]):
            rules[f"rows with a {column} of unknown {parent}"] = (
                f'FROM {table.name} WHERE "{column}" NOT IN (SELECT {KEYS[parent]} FROM {parent})'
            )
        if column.endswith(SHARES):
            least = -1 if column == "similarity_score" else 0
            rules[f"rows whose {column} is not from {least} to 1"] = (
                f'FROM {table.name} WHERE "{column}" NOT BETWEEN {least - ROUNDING} AND {1 + ROUNDING}'
            )
    for what, query in rules.items():
        count = connection.execute(f"SELECT count(*) FROM ({query})").fetchone()[0]
        if count:
            yield f"{table.name} has {count} {what}."
