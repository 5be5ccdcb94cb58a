"""What the page shows: one query of a view for each panel."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb

from catalog.connection import one_snapshot, read_arrow

DAYS = 90
MOST_FILES = 500  # more failed files than anybody reads on a page; `failed_files` has them all
DIGITS = 6

PANELS = {
    "totals": "FROM lake_totals",
    "alarms": "FROM alarms WHERE is_open OR raised_at >= $since ORDER BY severity, raised_at DESC",
    "runs": "FROM run_history WHERE started_at >= $since ORDER BY started_at DESC, run_id",
    "running": "FROM running_ingests ORDER BY started_at DESC",
    "throughput": "FROM run_throughput WHERE started_at >= $since ORDER BY started_at",
    "stages": (
        "SELECT * EXCLUDE (started_at) FROM stage_seconds WHERE started_at >= $since ORDER BY started_at, seconds DESC"
    ),
    "failures": "FROM failures_by_reason WHERE last_at >= $since ORDER BY files DESC, reason",
    "files": f"FROM failed_files WHERE rejected_at >= $since ORDER BY rejected_at DESC, uri LIMIT {MOST_FILES}",
    "retries": "FROM retries ORDER BY files DESC, reason",
    "freshness": "FROM corpus_freshness ORDER BY corpus",
    "duplicates": "FROM duplicates_found ORDER BY corpus",
    "index": "FROM index_health ORDER BY instrument_type",
    "distributions": (
        "SELECT value_distributions.* FROM value_distributions JOIN run_history USING (run_id)"
        " WHERE started_at >= $since ORDER BY measure, place, value"
    ),
    "drift": "SELECT * FROM value_drift WHERE started_at >= $since ORDER BY started_at, measure",
    "storage": "FROM storage_by_table ORDER BY size_bytes DESC",
    "kinds": "FROM storage_by_kind ORDER BY size_bytes DESC",
    "cost": "FROM cost_per_thousand_hours(price_per_worker_hour := 1) WHERE started_at >= $since",
}


def read_panels(connection: duckdb.DuckDBPyConnection, days: int = DAYS, now: datetime | None = None) -> dict:
    """The answers to all panels, of one snapshot, fit for JSON.

    Args:
        connection: The lake.
        days: How many days back the page reaches.
        now: The time that the page speaks of; by default the clock's.

    Returns:
        `made_at`, `snapshot`, `days`, and for each panel its `columns` and `rows`; times are milliseconds since 1970.
        Where a panel has a column run_id, it holds the run's place among the rows of the panel `runs`, or None.
    """
    now = now or datetime.now(UTC)
    since = {"since": now - timedelta(days=days)}
    with one_snapshot(connection) as snapshot:
        answers = {
            name: read_arrow(connection, sql, since if "$since" in sql else None) for name, sql in PANELS.items()
        }
    places = {run_id: place for place, run_id in enumerate(answers["runs"]["run_id"].to_pylist())}
    panels = {}
    for name, answer in answers.items():
        columns = [column.to_pylist() for column in answer.columns]
        if name != "runs" and "run_id" in answer.column_names:
            at = answer.column_names.index("run_id")
            columns[at] = [places.get(run_id) for run_id in columns[at]]
        rows = [[_plain(value) for value in row] for row in zip(*columns, strict=True)]
        panels[name] = {"columns": answer.column_names, "rows": rows}
    return {"made_at": _plain(now), "snapshot": snapshot, "days": days, "panels": panels}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, float | Decimal):
        return float(f"{value:.{DIGITS}g}")
    return value
