"""End to end: real files through Prefect, Dask, DuckLake and FAISS."""

import json
import logging
import shutil
import time

import pytest
from distributed import LocalCluster
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.testing.utilities import prefect_test_harness

import catalog
from flows.ingest import cut_shards, ingest
from flows.nightly import nightly
from flows.search import find_similar
from flows.settings import Settings
from tasks.errors import CorruptAudio
from tasks.plan import Fault, make_plan
from tasks.track import TrackResult
from tasks.worklog import LogLine
from tests.faults.steps import write_clip

PATIENCE_S = 60
pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def corpus(write_track, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora") / "demo"
    write_track(folder / "one.wav", 0.5)
    write_track(folder / "soft.flac", 0.1)
    shutil.copy(folder / "one.wav", folder / "copy.wav")
    (folder / "broken.mp3").write_bytes(b"no music at all")
    (folder / "empty.ogg").touch()
    (folder / "cover.jpg").write_bytes(b"picture")
    return folder


@pytest.fixture(scope="module")
def lake(prefect, corpus, tmp_path_factory):
    """The lake after the first run, with what the run said."""
    folder = tmp_path_factory.mktemp("lakes") / "lake"
    return folder, ingest([str(corpus)], lake=str(folder), stems="2", workers=2)


def counts(summary: dict) -> dict:
    return {name: summary[f"files_{name}"] for name in ("new", "unchanged", "duplicate", "rejected", "failed")}


def test_every_file_is_accounted_for(lake):
    _, summary = lake
    assert counts(summary) == {"new": 2, "unchanged": 0, "duplicate": 1, "rejected": 2, "failed": 0}
    assert (summary["files_seen"], summary["files_ignored"], summary["state"]) == (5, 1, "completed")
    assert {reject["reason"] for reject in summary["rejects"]} == {"not_audio", "empty"}


def test_every_station_left_its_rows(lake):
    with catalog.connect(lake[0]) as connection:
        for table in ("stems", "onsets", "beats", "notes", "sections", "patterns", "fingerprints", "track_stages"):
            tracks = connection.execute(f"SELECT count(DISTINCT track_id) FROM {table}").fetchone()[0]
            assert (table, tracks) == (table, 2)


def test_a_known_song_is_told_with_its_sections(lake):
    folder, summary = lake
    (known,) = summary["known_songs"]
    assert (summary["known_tracks"], known["relation"]) == (1, "same")
    with catalog.connect(folder) as connection:
        tracks = connection.execute("SELECT list(track_id::VARCHAR) FROM tracks").fetchone()[0]
        sections = connection.execute(
            "SELECT list(section_id::VARCHAR) FROM sections WHERE track_id = ?", [known["track_id"]]
        ).fetchone()[0]
    assert {known["track_id"], known["known_track_id"]} == set(tracks)
    assert {section["song_id"] for section in known["sections"]} <= set(sections)
    assert summary["known_sections"] == len(sections)


def test_nobody_looks_for_known_songs_where_that_is_switched_off(prefect, write_track, tmp_path, monkeypatch):
    monkeypatch.setenv("MIDIME_FIND_DUPLICATES", "0")
    write_track(tmp_path / "music/one.wav", 0.5)
    write_track(tmp_path / "music/soft.flac", 0.1)
    summary = ingest([str(tmp_path / "music")], lake=str(tmp_path / "lake"), stems="none", workers=1)
    assert (summary["files_new"], summary["known_tracks"], summary["known_songs"]) == (2, None, [])


def test_running_again_analyses_nothing(lake, corpus):
    summary = ingest([str(corpus)], lake=str(lake[0]), stems="2", workers=2)
    assert counts(summary) == {"new": 0, "unchanged": 3, "duplicate": 0, "rejected": 2, "failed": 0}


def test_one_worker_writes_what_two_write(lake, corpus, tmp_path):
    ingest([str(corpus)], lake=str(tmp_path / "one"), stems="2", workers=1)
    with catalog.connect(lake[0]) as first, catalog.connect(tmp_path / "one") as second:
        for table, left_out in (
            ("tracks", "upload_date"),
            ("onsets", None),
            ("beats", None),
            ("notes", None),
            ("sections", None),
            ("patterns", "created_at"),
            ("fingerprints", None),
            ("stems", None),
            ("files", "run_id"),
        ):
            columns = f"* EXCLUDE ({left_out})" if left_out else "*"
            query = f"SELECT {columns} FROM {table} ORDER BY ALL"
            assert first.execute(query).fetchall() == second.execute(query).fetchall()


def test_a_running_cluster_is_used(prefect, corpus, tmp_path):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        summary = ingest([str(corpus)], lake=str(tmp_path / "lake"), stems="none", dask=cluster.scheduler_address)
        assert len(cluster.scheduler.workers) == 1
    assert counts(summary) == {"new": 2, "unchanged": 0, "duplicate": 1, "rejected": 2, "failed": 0}


def test_nightly_groups_the_songs_and_finds_the_groove(lake):
    folder, _ = lake
    summary = nightly(lake=str(folder))
    assert (summary["songs"], summary["same"], summary["unique"]) == (1, 2, 0)
    with catalog.connect(folder) as connection:
        patterns = [row[0] for row in connection.execute("SELECT pattern_id::VARCHAR FROM patterns").fetchall()]
        by_sql = connection.execute(
            "SELECT pattern_id::VARCHAR FROM similar_patterns(?, min_similarity := 0.5)", [patterns[0]]
        ).fetchall()
    answer = find_similar(patterns[0], Settings(lake=folder), min_similarity=0.5)
    found = [section["pattern_id"] for song in answer["results"] for section in song["sections"]]
    assert found == [row[0] for row in by_sql]
    json.dumps(answer)


def test_shards_hold_one_corpus(tmp_path, write_track):
    for corpus in ("a", "b"):
        for index in range(3):
            (tmp_path / corpus).mkdir(exist_ok=True)
            (tmp_path / corpus / f"{index}.wav").write_bytes(f"{corpus}{index}".encode())
    jobs = make_plan([tmp_path / "a", tmp_path / "b"], None, None, {}).jobs
    assert [(name, len(cut)) for name, cut in cut_shards(jobs, 2)] == [
        ("a/000", 2),
        ("a/001", 1),
        ("b/000", 2),
        ("b/001", 1),
    ]


def test_files_that_are_gone_are_told_of_and_kept(prefect, tmp_path, caplog):
    for content in range(2):
        write_clip(tmp_path / "corpus" / f"{content}.wav", content)
    ingest([str(tmp_path / "corpus")], lake=str(tmp_path / "lake"), stems="none", workers=1)
    (tmp_path / "corpus" / "1.wav").unlink()
    summary = ingest([str(tmp_path / "corpus")], lake=str(tmp_path / "lake"), stems="none", workers=1)
    assert (summary["files_seen"], summary["files_unchanged"]) == (1, 1)
    assert "1 files that the lake knows are gone; it keeps its rows." in caplog.text
    with catalog.connect(tmp_path / "lake") as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (2,)


def test_what_a_worker_says_is_logged_in_prefect_with_its_track(prefect, tmp_path, monkeypatch):
    write_clip(tmp_path / "corpus" / "odd.wav", 1)

    def fan_out(address, jobs, *_):
        for job in jobs:
            fault = Fault.of(CorruptAudio("It is broken."), "decode", "1")
            yield TrackResult(job, fault=fault, log=[LogLine(logging.WARNING, "a frame without a header")])

    monkeypatch.setattr("tasks.ingest.fan_out", fan_out)
    state = ingest([str(tmp_path / "corpus")], lake=str(tmp_path / "lake"), stems="none", workers=1, return_state=True)
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        for _ in range(PATIENCE_S):
            said = {(log.level, log.message) for log in client.read_logs(wanted)}
            if any("header" in message for _, message in said):
                break
            time.sleep(1)  # Prefect sends logs in batches
    assert (logging.WARNING, f"{(tmp_path / 'corpus' / 'odd.wav').as_uri()}: a frame without a header") in said
