"""What the page knows of runs at work beyond the views: each track as it ends, and that a dead run is dead."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.connection import connect, newest_snapshot
from catalog.dashboard.live import add_progress, read_live
from catalog.dashboard.panels import read_panels
from catalog.lost_runs import close_lost_runs
from catalog.progress import Progress, tell_progress
from tests.nights import Night, write_nights

MORNING = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def running(lake):
    """A lake whose one ingest has committed 10 of 40 tracks, and its run_id."""
    (run_id,) = write_nights(lake, [Night("loops", MORNING - timedelta(minutes=10), files=10, faulty=0.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE runs SET state = 'running', ended_at = NULL, tracks_planned = 40")
    return run_id


def rows(panels: dict, name: str) -> list[dict]:
    panel = panels["panels"][name]
    return [dict(zip(panel["columns"], row, strict=True)) for row in panel["rows"]]


def test_a_track_counts_before_its_shard_is_committed(lake, running):
    progress = Progress(analysed=18, given_up=2, told_at=MORNING.timestamp())
    panels = add_progress(read_panels(lake.connection), {running: progress})
    (row,) = rows(panels, "running")
    assert (row["tracks_analysed"], row["tracks_given_up"], row["tracks_left"]) == (18, 2, 20)
    assert row["left_s"] == pytest.approx(600)
    assert row["expected_end_at"] == pytest.approx((MORNING.timestamp() + 600) * 1000)
    assert [alarm["kind"] for alarm in rows(panels, "alarms")] == []


def test_a_dead_run_is_lost_in_the_words_of_the_views(lake, running):
    panels = read_live(lake.connection, lake.folder)
    assert rows(panels, "running") == []
    (run,) = rows(panels, "runs")
    (alarm,) = rows(panels, "alarms")
    close_lost_runs(lake)
    (closed,) = lake.query("SELECT state, message FROM run_history").to_pylist()
    (told,) = lake.query("SELECT kind, severity, message, is_open FROM alarms").to_pylist()
    assert {name: run[name] for name in closed} == closed
    assert {name: alarm[name] for name in told} == told


def test_all_panels_are_of_the_snapshot_that_the_page_names(lake, running):
    ended = []

    class Watched:
        """A connection on which the run ends as soon as its row has been read."""

        def execute(self, sql, *parameters):
            answer = connection.execute(sql, *parameters)
            if "FROM run_history WHERE" in sql and not ended:
                with lake.transaction("end") as change:
                    change.connection.execute("UPDATE runs SET state = 'completed', ended_at = now()")
                ended.append(lake.snapshot)
            return answer

    with connect(lake.folder) as connection:
        panels = read_panels(Watched())
        assert panels["snapshot"] < ended[0] == newest_snapshot(connection)
    assert [row["state"] for row in rows(panels, "runs")] == ["running"]
    assert len(rows(panels, "running")) == 1


def test_a_living_run_is_not_lost(lake, running):
    with tell_progress(lake.folder, running):
        panels = read_live(lake.connection, lake.folder)
    assert [row["state"] for row in rows(panels, "runs")] == ["running"]
    assert len(rows(panels, "running")) == 1
