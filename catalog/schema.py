"""How a table is declared: once, as data, read as Arrow schema, DuckDB statements and documentation.

The tables themselves are in catalog/tables.py.
"""

from dataclasses import dataclass

import pyarrow as pa

ARROW_TYPES = {
    "UUID": pa.string(),  # DuckDB casts the text form on insert
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "UTINYINT": pa.uint8(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    "FLOAT[]": pa.list_(pa.float32()),
    "UINTEGER[]": pa.list_(pa.uint32()),
}


@dataclass(frozen=True)
class Field:
    """One column: its name carries the unit, its meaning becomes the comment in the lake."""

    name: str
    sql_type: str
    meaning: str

    @property
    def arrow(self) -> pa.Field:
        return pa.field(self.name, ARROW_TYPES[self.sql_type])


@dataclass(frozen=True)
class Table:
    """One table of the lake.

    Attributes:
        name: Its name, plural.
        row: What one row is, as a noun phrase.
        fields: The columns in order.
        key: The columns that identify a row.
        partitioned: Whether the Parquet files lie in one folder for each corpus; needs a column `corpus`.
    """

    name: str
    row: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    partitioned: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([field.arrow for field in self.fields])

    def make_rows(self, rows: list[dict]) -> pa.Table:
        """Turn dictionaries into an Arrow table of this schema.

        Raises:
            KeyError: A row has a column that the table does not declare.
        """
        unknown = {name for row in rows for name in row} - set(self.columns)
        if unknown:
            raise KeyError(f"Table {self.name} has no column {', '.join(sorted(unknown))}.")
        return pa.Table.from_pylist(rows, schema=self.arrow_schema)

    def create_sql(self) -> list[str]:
        """The statements that create the table with its partitions and comments."""
        columns = ", ".join(f'"{field.name}" {field.sql_type}' for field in self.fields)
        statements = [f"CREATE TABLE {self.name} ({columns})"]
        if self.partitioned:
            statements.append(f"ALTER TABLE {self.name} SET PARTITIONED BY (corpus)")
        return statements + self.comment_sql()

    def comment_sql(self) -> list[str]:
        """The statements that comment the table and its columns."""
        return [f"COMMENT ON TABLE {self.name} IS {_quote(self.row)}"] + [
            f'COMMENT ON COLUMN {self.name}."{field.name}" IS {_quote(field.meaning)}' for field in self.fields
        ]

    def to_markdown(self) -> str:
        """The table's part of the data dictionary."""
        head = f"## {self.name}\n\nOne row is {self.row}. Key: {', '.join(f'`{name}`' for name in self.key)}.\n"
        rows = "\n".join(f"| `{field.name}` | {field.sql_type} | {field.meaning} |" for field in self.fields)
        return f"{head}\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
