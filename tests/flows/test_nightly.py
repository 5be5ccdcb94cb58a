import numpy as np
import pytest
from prefect.testing.utilities import prefect_test_harness

from catalog.matching.alignment import CHROMAPRINT
from catalog.tables import FINGERPRINTS, PATTERNS, TRACKS, make_id
from catalog.vectors import DIMENSIONS
from flows.nightly import nightly
from tasks import nightly as stations


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def filled(lake):
    """Two copies of one recording, each with a drum pattern."""
    items = np.random.default_rng(0).integers(0, 2**32, 480, np.uint32).tolist()
    tracks = [{"corpus": "c", "track_id": make_id("track", name), "privacy_setting": "public"} for name in "ab"]
    patterns = [
        {
            "pattern_id": make_id("pattern", track["track_id"]),
            "instrument_type": "drums",
            "fingerprint": [1.0] * DIMENSIONS,
        }
        | {"corpus": "c", "track_id": track["track_id"], "section_id": make_id("section", track["track_id"])}
        for track in tracks
    ]
    prints = [
        {
            "corpus": "c",
            "track_id": track["track_id"],
            "algorithm": CHROMAPRINT.algorithm,
            "items": items,
            "hop_s": 1365 / 11_025,
        }
        for track in tracks
    ]
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows(tracks))
        change.insert("patterns", PATTERNS.make_rows(patterns))
        change.insert("fingerprints", FINGERPRINTS.make_rows(prints))
    return lake


def read_states(lake):
    return lake.query("SELECT state, ended_at IS NOT NULL AS ended FROM runs WHERE flow = 'nightly'").to_pylist()


def test_a_night_groups_songs_and_publishes_an_index(filled):
    summary = nightly(lake=str(filled.folder))
    assert {name: summary[name] for name in ("matches", "songs", "same", "similarities")} == {
        "matches": 1,
        "songs": 1,
        "same": 2,
        "similarities": 0,  # of two copies of one song
    }
    assert [index["outcome"] for index in summary["indexes"]] == ["built"]
    assert filled.query("SELECT DISTINCT run_id FROM song_groups")["run_id"].to_pylist() == [summary["run_id"]]
    assert read_states(filled) == [{"state": "completed", "ended": True}]
    assert [index["outcome"] for index in nightly(lake=str(filled.folder))["indexes"]] == ["unchanged"]


def test_a_night_over_an_empty_lake_completes(lake):
    summary = nightly(lake=str(lake.folder))
    assert (summary["songs"], summary["indexes"]) == (0, [])
    assert read_states(lake) == [{"state": "completed", "ended": True}]


def test_a_night_that_fails_says_where_and_why(filled, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(stations, "refresh_indexes", fail)
    with pytest.raises(OSError, match="disk full"):
        nightly(lake=str(filled.folder))
    assert read_states(filled) == [{"state": "failed", "ended": True}]
    assert filled.query("SELECT message FROM runs")["message"].to_pylist() == ["build indexes: OSError: disk full"]
    alarms = filled.query("SELECT message FROM alarms WHERE is_open ORDER BY kind")["message"].to_pylist()
    assert alarms == [
        "The nightly run failed: build indexes: OSError: disk full",
        "There is no index of drums patterns. Run: midime nightly",
    ]
    assert "disk full" in (filled.folder / "dashboard.html").read_text(encoding="utf-8")
