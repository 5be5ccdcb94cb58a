"""Committing: counts add up, and a track that is analysed again is there once."""

from dataclasses import replace

import pytest

from catalog.tables import make_id
from tasks.commit import Counts, Owner, Run, commit_plan, commit_shard
from tasks.errors import StageFailed, UnreadableFile
from tasks.plan import Fault, Plan, make_plan
from tasks.track import TrackParams, TrackResult, analyse_track
from tests.faults.rules import find_broken_rules

RUN_ID = make_id("run", "test")
PARAMS = TrackParams(stems=0)


@pytest.fixture(scope="module")
def result(write_track, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_track(folder / "a.wav")
    write_track(folder / "b.wav")
    (job,) = make_plan([folder], "c", None, {}).jobs
    return analyse_track(job, PARAMS)


def test_counts_add_up():
    total = Counts(new=2, duplicate=1, audio_s=3.0) + Counts(rejected=1, failed=1, unchanged=4, ignored=9)
    assert total.to_columns() == {
        "files_seen": 9,
        "files_new": 2,
        "files_unchanged": 4,
        "files_duplicate": 1,
        "files_rejected": 1,
        "files_failed": 1,
        "files_ignored": 9,
        "audio_s": 3.0,
    }


def test_a_copy_in_the_same_run_is_a_duplicate(lake, result):
    counts = commit_shard(lake, "c/000", [result], RUN_ID, Owner())
    assert (counts.new, counts.duplicate, counts.seen) == (1, 1, 2)
    assert lake.query("SELECT count(*) AS n FROM files").to_pylist() == [{"n": 2}]


def test_a_track_committed_twice_is_there_once_and_keeps_its_date_and_owner(lake, result):
    commit_shard(lake, "c/000", [result], RUN_ID, Owner("ann", "private"))
    before = lake.query("SELECT upload_date, user_id, privacy_setting FROM tracks").to_pylist()
    beats = lake.query("SELECT count(*) AS n FROM beats").to_pylist()
    commit_shard(lake, "c/000", [result], RUN_ID, Owner("bob", "public"))
    assert lake.query("SELECT upload_date, user_id, privacy_setting FROM tracks").to_pylist() == before
    assert lake.query("SELECT count(*) AS n FROM beats").to_pylist() == beats
    assert lake.verify() == []


def test_a_run_says_how_it_ended(lake):
    run = Run("ingest", {"sources": ["x"]}, "0.1.0")
    run.write(lake)
    run.end("completed").write(lake, Counts(new=1, audio_s=2.0))
    (row,) = lake.query("SELECT state, files_seen, ended_at >= started_at AS ended FROM runs").to_pylist()
    assert row == {"state": "completed", "files_seen": 1, "ended": True}


def failed(result) -> TrackResult:
    return TrackResult(result.job, fault=Fault.of(StageFailed("It fell over."), "beats", "v2"))


def places(lake) -> tuple[int, int]:
    """Files that are taken, and that are rejects."""
    return tuple(lake.query(f"SELECT count(*) AS n FROM {name}").to_pylist()[0]["n"] for name in ("files", "rejects"))


def test_a_track_that_fails_when_it_is_run_again_keeps_its_rows_and_places(lake, result):
    commit_shard(lake, "c/000", [result], RUN_ID, Owner())
    commit_shard(lake, "c/000", [failed(result)], RUN_ID, Owner())
    assert places(lake) == (2, 2)
    assert find_broken_rules(lake.connection) == []
    commit_shard(lake, "c/000", [result], RUN_ID, Owner())
    assert places(lake) == (2, 0)


def test_a_place_that_holds_another_content_which_fails_is_no_place_of_the_first(lake, result):
    commit_shard(lake, "c/000", [result], RUN_ID, Owner())
    other = replace(result, job=replace(result.job, file_hash="other", track_id=make_id("track", "other")))
    commit_shard(lake, "c/000", [failed(other)], RUN_ID, Owner())
    assert places(lake) == (0, 2)
    assert lake.verify() == []


def test_a_place_that_cannot_be_read_just_now_stays(lake, result):
    commit_shard(lake, "c/000", [result], RUN_ID, Owner())
    fault = Fault.of(UnreadableFile("The file cannot be read: Input/output error."), "plan", "v1")
    counts = commit_plan(lake, Plan(faults=[(result.job.file, fault)]), RUN_ID)
    assert (counts.failed, counts.rejected) == (1, 0)
    assert places(lake) == (2, 1)
    assert find_broken_rules(lake.connection) == []


def test_a_message_with_odd_bytes_and_control_characters_is_text(lake, result):
    error = StageFailed(f"Cannot open '/music/{chr(0xDCFF)}\x1b[2J\x00.mp3'")
    commit_shard(lake, "c/000", [TrackResult(result.job, fault=Fault.of(error, "beats", "v1"))], RUN_ID, Owner())
    (message,) = set(lake.query("SELECT message FROM rejects")["message"].to_pylist())
    assert message == "Cannot open '/music/  [2J .mp3'"
