"""The estimate follows from what the lake's tracks took, and is silent without a past."""

import pytest

from catalog.tables import FILES, TRACK_STAGES, TRACKS, make_id
from tasks.estimate import estimate_work
from tasks.plan import FoundFile, TrackJob

STAGES = ("decode", "separate", "beats")
NEW = TrackJob(FoundFile("/new.wav", "c", size_bytes=7_200_000), "h", make_id("track", "new"), "c")
KNOWN = TrackJob(FoundFile("/old.wav", "c"), "h", make_id("track", "old"), "c", stages=frozenset({"beats"}))


@pytest.fixture
def past(lake):
    """An hour of audio at 1,000 bytes a second: 36 s of decoding, 3,600 s of separating, 360 s of beats."""
    track = {"corpus": "c", "track_id": KNOWN.track_id}
    seconds = {"decode": 36.0, "separate": 3600.0, "beats": 360.0}
    with lake.transaction("past") as change:
        change.insert("tracks", TRACKS.make_rows([track | {"duration_s": 3600.0}]))
        change.insert("files", FILES.make_rows([track | {"uri": "file:///old.wav", "size_bytes": 3_600_000}]))
        rows = [track | {"stage": stage, "seconds": taken} for stage, taken in seconds.items()]
        change.insert("track_stages", TRACK_STAGES.make_rows(rows))
    return lake.connection


def test_a_new_file_takes_what_its_size_promises(past):
    hours = {work.stage: work.hours for work in estimate_work([NEW], past, STAGES)}
    assert hours == pytest.approx({"decode": 0.02, "separate": 2.0, "beats": 0.2})


def test_a_stage_that_runs_again_is_not_charged_with_the_separation(past):
    work = {work.stage: (work.tracks, work.hours) for work in estimate_work([KNOWN], past, STAGES)}
    assert work == {"decode": (0, pytest.approx(0.01)), "separate": (0, 0), "beats": (1, pytest.approx(0.1))}


def test_without_a_past_there_is_no_estimate(lake):
    assert [work.hours for work in estimate_work([NEW], lake.connection, STAGES)] == [None] * 3
    assert [work.hours for work in estimate_work([NEW], None, STAGES)] == [None] * 3
