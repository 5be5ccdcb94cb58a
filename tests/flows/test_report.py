"""What a run leaves in Prefect and in `runs`, when it ends well and when it does not."""

import json
from datetime import UTC, datetime

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.testing.utilities import prefect_test_harness

from flows.record import record_run
from flows.report import name_ingest, tag_run, write_known_track
from flows.settings import Settings
from tasks.commit import Counts, TooManyRejects, check_rejects
from tests.nights import Night, write_nights

POISONED = Night("library", datetime.now(UTC), files=40, faulty=0.9)


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@flow(name="ingest", flow_run_name=name_ingest)
def example(
    sources: list[str], lake, corpus: str | None = None, error: Exception | None = None, known: list | None = None
):
    """A run as flows/ingest.py records it, with the rows of the tests instead of an analysis."""
    with record_run(lake, "ingest", {"sources": sources}, Settings()) as run:
        tag_run(["library", "live"])
        run.note_plan(lake, 5)
        run.tally.add(Counts(new=4, rejected=1, audio_s=7200))
        run.known = known
        write_reject(lake, run.run_id)
        if error:
            raise error
    return run.summary


def write_reject(lake, run_id):
    write_nights(lake, [Night("library", datetime.now(UTC), files=1, faulty=1.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE rejects SET run_id = ?", [run_id])
        change.connection.execute("DELETE FROM runs WHERE run_id <> ?", [run_id])


def read_back(state):
    """The flow run and its artifacts by key."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        return run, {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=wanted)}


KNOWN = {
    "track_id": "a",
    "uri": "file:///faster.mp3",
    "title": None,
    "source_song_id": "s",
    "relation": "transformed",
    "known_track_id": "b",
    "known_title": "Song",
    "score": 0.8,
    "overlap_s": 100.0,
    "speed_ratio": 1.05,
    "known_sections": 3,
    "sections": [
        {"section": "verse", "start_s": 0.0, "end_s": 12.3},
        {"section": "chorus", "start_s": 12.3, "end_s": 30.0},
    ],
}


def test_a_known_song_is_told_with_its_speed_and_sections():
    assert write_known_track(KNOWN) == {
        "track": "file:///faster.mp3",
        "relation": "transformed, at +5.0 % speed",
        "of": "Song",
        "song": "s",
        "sections": "verse 0–12 s, chorus 12–30 s and 1 more",
    }


def test_known_songs_are_counted_in_the_summary_and_listed(lake):
    state = example(["/music/library"], lake, known=[KNOWN], return_state=True)
    _, artifacts = read_back(state)
    assert "1 of the tracks are known songs, with 3 sections" in artifacts["ingest-summary"].data
    assert json.loads(artifacts["ingest-known-songs"].data)[0]["of"] == "Song"
    summary = state.result()
    assert (summary["known_tracks"], summary["known_sections"], summary["known_songs"]) == (1, 3, [KNOWN])


def test_a_run_leaves_a_summary_its_rejects_and_a_link(lake):
    state = example(["/music/library", "/music/live"], lake, return_state=True)
    run, artifacts = read_back(state)
    assert (run.name, set(run.tags)) == ("ingest library, live", {"library", "live"})
    assert "**5 files seen** = 4 new" in artifacts["ingest-summary"].data
    assert "2.00 hours of audio" in artifacts["ingest-summary"].data
    (reject,) = json.loads(artifacts["ingest-rejects"].data)
    assert reject["uri"].startswith("file:///music/library/")
    assert (lake.folder / "dashboard.html").as_uri() in artifacts["dashboard"].data
    assert lake.query("SELECT state, tracks_planned FROM runs").to_pylist() == [
        {"state": "completed", "tracks_planned": 5}
    ]


def test_a_run_that_fails_is_failed_everywhere_and_says_why(lake):
    state = example(["/music/library"], lake, error=OSError("disk full\nand more"), return_state=True)
    run, artifacts = read_back(state)
    assert run.state.is_failed()
    assert "**ingest failed**: OSError: disk full" in artifacts["ingest-summary"].data
    assert lake.query("SELECT state, message FROM runs").to_pylist() == [
        {"state": "failed", "message": "OSError: disk full"}
    ]


def test_too_many_rejects_fail_a_run(lake):
    (run_id,) = write_nights(lake, [POISONED])
    row = lake.query("SELECT files_new, files_rejected, files_failed FROM runs").to_pylist()[0]
    counts = Counts(new=row["files_new"], rejected=row["files_rejected"], failed=row["files_failed"])
    with pytest.raises(TooManyRejects, match=r"of 40 new files were rejected or failed \(\d+%, the limit is 20%\)"):
        check_rejects(lake, run_id, counts, 0.2)
    check_rejects(lake, run_id, counts, 1.0)


def test_a_few_rejects_do_not(lake):
    (run_id,) = write_nights(lake, [Night("library", datetime.now(UTC), files=9, faulty=1.0)])
    check_rejects(lake, run_id, Counts(failed=9), 0.2)
