"""How long a plan will take, from what the lake's tracks took. It stays silent where the lake has no past to go by."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from tasks.plan import TrackJob


@dataclass(frozen=True)
class StageWork:
    """What a plan asks of one stage.

    Attributes:
        stage: Its name.
        tracks: How many tracks get new rows from it.
        hours: Hours of one worker; None where the lake has no track that went through the stage.
    """

    stage: str
    tracks: int
    hours: float | None


def estimate_work(
    jobs: Sequence[TrackJob], lake: duckdb.DuckDBPyConnection | None, stages: Sequence[str]
) -> list[StageWork]:
    """What each stage has to do.

    A new file's length is guessed from its size. A job that has stems hears the whole track again, but does not
    separate it: its other stages take their time whether or not their rows are written.

    Args:
        jobs: What is planned.
        lake: The lake; None when there is none yet.
        stages: All stages of a track, in their order.
    """
    speeds, seconds_per_byte = _read_past(lake) if lake else ({}, None)
    lengths = _read_lengths(jobs, lake) if lake else {}
    work = []
    for stage in stages:
        written = [job for job in jobs if job.stages is None or stage in job.stages]
        run = written if stage == "separate" else jobs
        audio_s = [lengths.get(job.track_id) or (job.file.size_bytes or 0) * (seconds_per_byte or 0) for job in run]
        known = stage in speeds and (seconds_per_byte is not None or not run)
        work.append(StageWork(stage, len(written), sum(audio_s) * speeds[stage] / 3600 if known else None))
    return work


def _read_past(lake: duckdb.DuckDBPyConnection) -> tuple[dict[str, float], float | None]:
    """Seconds of work for each second of audio, by stage; and seconds of audio in a byte of the files."""
    speeds = lake.execute(
        "SELECT stage, sum(seconds) / sum(duration_s) FROM track_stages JOIN tracks USING (track_id) GROUP BY stage"
    ).fetchall()
    density = lake.execute(
        "SELECT sum(duration_s) / nullif(sum(size_bytes), 0) FROM files JOIN tracks USING (track_id)"
    ).fetchone()[0]
    return dict(speeds), density


def _read_lengths(jobs: Sequence[TrackJob], lake: duckdb.DuckDBPyConnection) -> dict[str, float]:
    ids = [job.track_id for job in jobs if job.stages is not None]
    return dict(
        lake.execute(
            "SELECT track_id::VARCHAR, duration_s FROM tracks WHERE track_id IN (SELECT unnest(?::UUID[]))", [ids]
        ).fetchall()
    )
