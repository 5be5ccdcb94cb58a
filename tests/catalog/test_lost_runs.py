"""Runs that died without a word: closed once, with the counts of what they committed, and told as an alarm."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.lost_runs import MESSAGE, close_lost_runs
from catalog.progress import read_progress, tell_progress
from tests.nights import Night, write_nightly, write_nights

MORNING = datetime.now(UTC)


@pytest.fixture
def left(lake):
    """A lake with an ingest that was killed before it could write its counts, which stand as after its plan; its id."""
    (run_id,) = write_nights(lake, [Night("loops", MORNING - timedelta(hours=3), files=20, faulty=0.3)])
    with lake.transaction("test") as change:
        change.connection.execute(
            "UPDATE runs SET state = 'running', ended_at = NULL, files_new = 0, files_duplicate = 0,"
            " files_rejected = 0, files_failed = 0, files_seen = files_unchanged, audio_s = 0"
        )
    return run_id


def test_a_lost_run_is_closed_with_what_it_committed(lake, left):
    assert close_lost_runs(lake) == [left]
    (row,) = lake.query("FROM run_history").to_pylist()
    (found,) = lake.query(
        "SELECT (SELECT count(*) FROM tracks) AS tracks, (SELECT sum(duration_s) / 3600 FROM tracks) AS audio_h,"
        " count(*) FILTER (NOT failed) AS rejected, count(*) FILTER (failed) AS failed, max(rejected_at) AS last_at"
        " FROM rejects"
    ).to_pylist()
    assert (row["state"], row["message"], row["files_unaccounted"]) == ("lost", MESSAGE, 0)
    assert (row["files_new"], row["files_rejected"], row["files_failed"]) == (
        found["tracks"],
        found["rejected"],
        found["failed"],
    )
    assert row["audio_h"] == pytest.approx(found["audio_h"])
    assert row["files_unchanged"] > 0
    assert row["started_at"] < row["ended_at"] <= MORNING - timedelta(hours=2)


def test_a_lost_run_is_closed_once(lake, left):
    close_lost_runs(lake)
    before = lake.snapshot
    assert close_lost_runs(lake) == []
    assert lake.snapshot == before


def test_a_run_at_work_is_left_alone(lake, left):
    with tell_progress(lake.folder, left):
        assert close_lost_runs(lake) == []
        assert list(read_progress(lake.folder)) == [left]


def test_a_lost_run_is_an_alarm_until_a_later_run_of_its_corpus(lake, left):
    close_lost_runs(lake)
    (alarm,) = lake.query("FROM alarms WHERE kind = 'lost run'").to_pylist()
    assert alarm["message"] == f"The ingest run of loops was lost: {MESSAGE}"
    assert (alarm["severity"], alarm["corpus"], alarm["is_open"]) == ("alarm", "loops", True)
    write_nightly(lake, MORNING - timedelta(hours=1))
    assert lake.query("FROM alarms WHERE kind = 'lost run' AND is_open").num_rows == 1
    write_nights(lake, [Night("loops", MORNING - timedelta(minutes=50), files=5, faulty=0.0)])
    assert lake.query("FROM alarms WHERE kind = 'lost run' AND is_open").num_rows == 0
