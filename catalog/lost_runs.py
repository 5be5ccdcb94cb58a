"""Runs whose process died without a word: found by their lock, and closed with the counts of what they committed."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from catalog.lake import Lake
from catalog.progress import clear_progress, read_last_word, read_progress

MESSAGE = "It was killed, or its machine went down. What it committed is in the lake: run it again to carry on."

COMMITTED = """
    WITH heard AS (
        SELECT count(*) AS tracks, coalesce(sum(duration_s), 0) AS audio_s, max(upload_date) AS last_at
        FROM tracks
        WHERE track_id IN (SELECT track_id FROM track_stages WHERE run_id = $run_id)
    ),
    places AS (
        SELECT count(*) AS files FROM files WHERE run_id = $run_id
    ),
    faults AS (
        SELECT
            count(*) FILTER (NOT failed) AS rejected,
            count(*) FILTER (failed) AS failed,
            max(rejected_at) AS last_at
        FROM rejects
        WHERE run_id = $run_id AND (stage <> 'plan' OR NOT $planned)
    )
    SELECT
        tracks AS analysed,
        greatest(0, files - tracks) AS duplicate,
        audio_s,
        rejected,
        failed,
        greatest(heard.last_at, faults.last_at) AS committed_at
    FROM heard, places, faults
"""
"""What a run has committed, but for what stands in its row since its plan: unchanged files and faults of the plan."""

CLOSE = """
    UPDATE runs SET
        state = 'lost',
        message = $message,
        ended_at = greatest(started_at, $ended_at),
        files_new = $analysed,
        files_duplicate = $duplicate,
        files_rejected = files_rejected + $rejected,
        files_failed = files_failed + $failed,
        files_seen = files_unchanged + files_rejected + files_failed + $analysed + $duplicate + $rejected + $failed,
        audio_s = $audio_s
    WHERE run_id = $run_id
"""


def describe_loss(flow: str, corpora: Sequence[str]) -> str:
    """The alarm of a run that is lost, in the words of the view `alarms`."""
    return f"The {flow} run{' of ' + ', '.join(corpora) if corpora else ''} was lost: {MESSAGE}"


def find_lost_runs(connection: duckdb.DuckDBPyConnection, alive: Collection[str]) -> list[dict]:
    """The runs that stand as running and are not among those that are alive, the oldest first.

    Returns:
        run_id, flow, corpora, and planned: whether the row has the counts of the run's plan.
    """
    rows = connection.execute(
        "SELECT run_id::VARCHAR, flow, corpora, tracks_planned IS NOT NULL"
        " FROM run_history JOIN (SELECT run_id, tracks_planned FROM runs) USING (run_id)"
        " WHERE state = 'running' ORDER BY started_at"
    ).fetchall()
    names = ("run_id", "flow", "corpora", "planned")
    return [dict(zip(names, row, strict=True)) for row in rows if row[0] not in alive]


def close_lost_runs(lake: Lake) -> list[str]:
    """Write `lost` into the rows of runs whose process is gone; their run_ids.

    A run holds its lock before it is written as running and until it is written as ended, and both are written under
    the writer's lock: so one that stands as running here and whose lock is free is dead.
    """
    if not find_lost_runs(lake.connection, read_progress(lake.folder)):
        return []
    with lake.transaction("close lost runs") as change:
        lost = find_lost_runs(change.connection, read_progress(lake.folder))
        for run in lost:
            (committed,) = lake.query(COMMITTED, {"run_id": run["run_id"], "planned": run["planned"]}).to_pylist()
            ended_at = _find_end(lake.folder, run["run_id"], committed.pop("committed_at"))
            change.connection.execute(
                CLOSE, committed | {"run_id": run["run_id"], "ended_at": ended_at, "message": MESSAGE}
            )
    clear_progress(lake.folder)
    return [run["run_id"] for run in lost]


def _find_end(folder: Path, run_id: str, committed_at: datetime | None) -> datetime | None:
    """The last sign of life of a run: what it said of its progress, or committed."""
    told_at = read_last_word(folder, run_id)
    signs = [committed_at, datetime.fromtimestamp(told_at, UTC) if told_at else None]
    return max((sign for sign in signs if sign), default=None)
