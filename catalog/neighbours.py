"""The nearest patterns of each pattern, computed beforehand. What they are asked of is in catalog/groove_index.py.

A pattern's neighbours are public patterns of other songs: those of its own song would take every place. After a night
in which little has changed, only what the changes can touch is asked again; the answer is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from catalog.groove_index import GrooveIndex
from catalog.tables import NAMESPACE

QUERY_BATCH = 1024
FRESH = "fresh_neighbours"  # the temporary table of the pairs: first, second (row numbers of the index), score


@dataclass(frozen=True)
class NeighbourParams:
    """Which neighbours are kept.

    Attributes:
        count: Most of a pattern.
        least: Least similarity.
        incremental_share: With more patterns than this share new, changed or gone, all are asked again.
    """

    count: int = 20
    least: float = 0.7
    incremental_share: float = 0.1

    @property
    def suffix(self) -> str:
        """The part of an index's name that its neighbours come from."""
        return f"-top{self.count}-{self.least:g}"


@dataclass(frozen=True)
class Changes:
    """What has happened to an index's patterns since the one before.

    Attributes:
        fresh: Row numbers of new patterns and of those with another vector, song or privacy, int64.
        gone: Identifiers of patterns that are no more, or that have changed, in the index before.
        patterns: Patterns in the index.
    """

    fresh: np.ndarray
    gone: list[str]
    patterns: int

    @property
    def share(self) -> float:
        return max(len(self.fresh), len(self.gone)) / max(1, self.patterns)


def find_changes(connection: duckdb.DuckDBPyConnection, rows: pa.Table, before: pa.Table) -> Changes:
    """Compare the rows of two indexes by what they hold."""
    _register(connection, "indexed", rows)
    _register(connection, "indexed_before", before)
    fresh = connection.execute(
        "SELECT number FROM indexed ANTI JOIN indexed_before USING (pattern_id, content) ORDER BY number"
    ).fetchnumpy()["number"]
    gone = connection.execute(
        "SELECT pattern_id FROM indexed_before ANTI JOIN indexed USING (pattern_id, content)"
    ).fetchall()
    return Changes(np.asarray(fresh, np.int64), [pattern for (pattern,) in gone], len(rows))


def compute_neighbours(connection: duckdb.DuckDBPyConnection, index: GrooveIndex, params: NeighbourParams) -> None:
    """Ask for the neighbours of every pattern, into the temporary table FRESH."""
    _create(connection)
    for batch in find_neighbours(index, np.arange(len(index)), params):
        _append(connection, batch)


def update_neighbours(
    connection: duckdb.DuckDBPyConnection,
    index: GrooveIndex,
    additions: GrooveIndex,
    changes: Changes,
    version: str,
    params: NeighbourParams,
) -> None:
    """Bring the neighbours of the build before up to date, into the temporary table FRESH.

    Args:
        connection: A lake, with the neighbours of the build before.
        index: The new index.
        additions: An index of its fresh rows alone, in their order.
        changes: What has changed.
        version: The build before.
        params: Which neighbours are kept, then as now.
    """
    _create(connection)
    _register(connection, "indexed", index.rows)
    connection.register("gone", pa.table({"pattern_id": pa.array(changes.gone, pa.string())}))
    connection.register("fresh_rows", pa.table({"number": changes.fresh}))
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE kept_neighbours AS
        WITH nearest AS (
            SELECT pattern_id_1, pattern_id_2, similarity_score FROM pattern_similarities
            WHERE index_version = $version
            QUALIFY row_number() OVER (PARTITION BY pattern_id_1 ORDER BY similarity_score DESC, pattern_id_2) <= $count
        )
        SELECT first.number::INTEGER AS first, second.number::INTEGER AS second, similarity_score AS score
        FROM nearest
        JOIN indexed AS first ON first.pattern_id = pattern_id_1::VARCHAR
        LEFT JOIN indexed AS second ON second.pattern_id = pattern_id_2::VARCHAR
            AND second.pattern_id NOT IN (SELECT pattern_id FROM gone)
        """,
        {"version": version, "count": params.count},
    )
    asked = connection.execute(
        "SELECT number FROM fresh_rows UNION SELECT first FROM kept_neighbours WHERE second IS NULL ORDER BY 1"
    ).fetchnumpy()["number"]
    asked = np.asarray(asked, np.int64)
    for batch in find_neighbours(index, asked, params):
        _append(connection, batch)
    rest = np.setdiff1d(np.arange(len(index)), asked)
    connection.execute("CREATE OR REPLACE TEMP TABLE nearer (first INTEGER, second INTEGER, score FLOAT)")
    for batch in find_neighbours(index, rest, params, additions, changes.fresh):
        _append(connection, batch, "nearer")
    connection.register("asked_rows", pa.table({"number": asked}))
    connection.execute(
        f"""
        INSERT INTO {FRESH}
        SELECT first, second, score FROM (
            SELECT * FROM kept_neighbours WHERE first NOT IN (SELECT number FROM asked_rows)
            UNION ALL SELECT * FROM nearer
        )
        QUALIFY row_number() OVER (PARTITION BY first ORDER BY score DESC, second) <= $count
        """,
        {"count": params.count},
    )
    connection.execute("DROP TABLE kept_neighbours; DROP TABLE nearer")


def find_neighbours(
    index: GrooveIndex,
    rows: np.ndarray,
    params: NeighbourParams,
    among: GrooveIndex | None = None,
    numbers: np.ndarray | None = None,
) -> Iterator[pa.Table]:
    """Pairs of row numbers with their score in batches, for the public patterns among these rows.

    Args:
        index: Whose rows ask.
        rows: Row numbers, int64.
        params: Which neighbours are kept.
        among: The index that is asked, if it is another: of some rows of the same.
        numbers: The row numbers of those, int64.
    """
    among = among or index
    numbers = np.arange(len(index)) if numbers is None else numbers
    public = index.columns.equal("privacy_setting", ["public"])
    songs = index.columns.codes("source_song_id")
    allowed = public[numbers]
    rows = rows[public[rows]]
    if not allowed.any():
        return
    largest = int(np.bincount(songs[numbers[allowed]]).max())
    count = min(int(allowed.sum()), params.count + largest)
    allowed = None if allowed.all() else allowed
    for start in range(0, len(rows), QUERY_BATCH):
        some = rows[start : start + QUERY_BATCH]
        scores, places = among.find_nearest(index.vectors[some], count, allowed)
        found = numbers[np.maximum(places, 0)]
        kept = (places >= 0) & (scores >= params.least) & (songs[found] != songs[some][:, None])
        kept &= np.cumsum(kept, axis=1) <= params.count
        left, place = np.nonzero(kept)
        yield pa.table(
            {
                "first": some[left].astype(np.int32),
                "second": found[left, place].astype(np.int32),
                "score": scores[left, place].clip(-1, 1),
            }
        )


def insert_neighbours(connection: duckdb.DuckDBPyConnection, rows: pa.Table, facts: dict) -> None:
    """Write the pairs of FRESH to `pattern_similarities`, each in both directions, by the pattern asked for.

    Args:
        connection: In a transaction.
        rows: Of the index.
        facts: instrument_type, computed_at and index_version.
    """
    _register(connection, "indexed", rows)
    connection.execute(
        f"""
        INSERT INTO pattern_similarities BY NAME
        WITH pairs AS (
            SELECT first, second, max(score) AS score
            FROM (SELECT first, second, score FROM {FRESH} UNION ALL SELECT second, first, score FROM {FRESH})
            GROUP BY ALL
        ), named AS (
            SELECT one.pattern_id AS id_1, two.pattern_id AS id_2, score,
                sha1($namespace::BLOB || encode('similarity:' || id_1 || ':' || id_2)) AS hash
            FROM pairs
            JOIN indexed AS one ON one.number = first
            JOIN indexed AS two ON two.number = second
        )
        SELECT
            -- A version-5 UUID, as catalog.tables.make_id makes it.
            (hash[:12] || '5' || hash[14:16] || ['8', '9', 'a', 'b'][1 + ('0x' || hash[17])::INTEGER % 4]
                || hash[18:32])::UUID AS similarity_id,
            id_1::UUID AS pattern_id_1,
            id_2::UUID AS pattern_id_2,
            score AS similarity_score,
            $instrument_type AS instrument_type,
            $computed_at::TIMESTAMPTZ AS computed_at,
            $index_version AS index_version
        FROM named
        ORDER BY pattern_id_1, score DESC, pattern_id_2
        """,
        facts | {"namespace": NAMESPACE.bytes},
    )


def forget_neighbours(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the temporary table FRESH."""
    connection.execute(f"DROP TABLE IF EXISTS {FRESH}")


def _create(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {FRESH} (first INTEGER, second INTEGER, score FLOAT)")


def _append(connection: duckdb.DuckDBPyConnection, batch: pa.Table, table: str = FRESH) -> None:
    connection.register("neighbour_batch", batch)
    connection.execute(f"INSERT INTO {table} SELECT * FROM neighbour_batch")
    connection.unregister("neighbour_batch")


def _register(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Let queries read the identifiers and contents of an index's rows with their numbers."""
    kept = rows.select(["pattern_id", "content"]).append_column("number", pa.array(np.arange(len(rows))))
    connection.register(name, kept)
