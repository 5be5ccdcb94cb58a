"""Files and names made by somebody who means harm: nothing leaves the lake's folder, no word becomes a command."""

import json
import os
import struct

import pytest
import soundfile

from catalog.lake import Lake
from tasks.commit import Owner, commit_plan, commit_shard
from tasks.plan import make_plan
from tasks.track import TrackParams, analyse_track
from tests.faults.rules import find_broken_rules
from tests.faults.steps import write_clip

RUN_ID = "6f0f6a3e-94c2-5d0c-8a55-6d6964696d65"
PARAMS = TrackParams(stems=0)
SQL = "'); DROP TABLE tracks; --"


def take(lake: Lake, source, corpus="c", **options) -> list[dict]:
    """Ingest a folder; the tracks of the lake."""
    plan = make_plan([source], corpus, lake.connection, {}, **options)
    commit_plan(lake, plan, RUN_ID)
    commit_shard(lake, "x/000", [analyse_track(job, PARAMS) for job in plan.jobs], RUN_ID, Owner())
    return lake.query("SELECT * FROM tracks ORDER BY title").to_pylist()


def write_tagged(path, **tags) -> None:
    write_clip(path.with_suffix(".wav"), 1)
    samples, rate_hz = soundfile.read(path.with_suffix(".wav"))
    path.with_suffix(".wav").unlink()
    with soundfile.SoundFile(path, "w", rate_hz, 1) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(samples)


def test_sql_in_tags_is_text(lake, tmp_path):
    write_tagged(tmp_path / "in" / "a.flac", title=SQL, artist="${jndi:ldap://x}", album="../../etc/passwd")
    (track,) = take(lake, tmp_path / "in")
    assert (track["title"], track["artist"], track["album"]) == (SQL, "${jndi:ldap://x}", "../../etc/passwd")
    assert lake.verify() == []


def test_control_characters_of_tags_do_not_reach_the_lake(lake, tmp_path):
    write_tagged(tmp_path / "in" / "a.flac", title="a\x1b[31mb\x07\r\nc\u202ed")
    (track,) = take(lake, tmp_path / "in")
    assert track["title"] == "a[31mb cd"
    assert find_broken_rules(lake.connection) == []


@pytest.mark.parametrize("name", [SQL, "$(reboot)", "`id`", "-rf", "%2e%2e", "new\nline", "\u202egnp", "a" * 200])
def test_hostile_names_are_names(lake, tmp_path, name):
    write_clip(tmp_path / "in" / f"{name}.wav", 1)
    take(lake, tmp_path / "in")
    (file,) = lake.query("SELECT uri FROM files").to_pylist()
    assert file["uri"] == (tmp_path / "in" / f"{name}.wav").as_uri()
    assert make_plan([tmp_path / "in"], "c", lake.connection, {}).unchanged == 1


@pytest.mark.parametrize("corpus", ["../../../out", "/tmp/out", SQL, "a/b", "..", "x=y"])
def test_a_hostile_corpus_writes_nothing_outside_of_the_lake(lake, tmp_path, corpus):
    write_clip(tmp_path / "in" / "a.wav", 1)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(lake.folder)}
    (track,) = take(lake, tmp_path / "in", corpus)
    assert track["corpus"] == corpus
    written = {path for path in tmp_path.rglob("*") if not path.is_relative_to(lake.folder)}
    assert written == before
    for uri in lake.query("SELECT uri FROM data_files")["uri"].to_pylist():
        assert (lake.folder / uri).resolve().is_relative_to((lake.folder / "tables").resolve())
    assert lake.verify() == []


def test_a_link_out_of_the_folder_is_not_followed(lake, tmp_path):
    write_clip(tmp_path / "private" / "secret.wav", 1)
    write_clip(tmp_path / "in" / "own.wav", 2)
    (tmp_path / "in" / "stolen.wav").symlink_to(tmp_path / "private" / "secret.wav")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "private")
    (tmp_path / "in" / "again.wav").symlink_to(tmp_path / "in" / "own.wav")
    assert len(take(lake, tmp_path / "in")) == 1
    rejects = lake.query("SELECT uri, reason FROM rejects ORDER BY uri").to_pylist()
    assert [(os.path.basename(reject["uri"]), reject["reason"]) for reject in rejects] == [
        ("folder", "outside"),
        ("stolen.wav", "outside"),
    ]


@pytest.mark.parametrize("claimed", [2**40, 2**62])
def test_a_header_that_claims_more_samples_than_there_are_costs_nothing(tmp_path, claimed):
    path = tmp_path / "big.w64"
    write_clip(tmp_path / "clip.wav", 1)
    samples, rate_hz = soundfile.read(tmp_path / "clip.wav")
    soundfile.write(path, samples, rate_hz, format="W64", subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 16
    data[at : at + 8] = struct.pack("<Q", 2 * claimed)
    path.write_bytes(data)
    (job,) = make_plan([path], "c", None, {}).jobs
    result = analyse_track(job, PARAMS)
    if result.fault:
        assert result.fault.reason in ("corrupt", "too_long", "not_audio")
    else:
        assert result.analysis.duration_s == pytest.approx(1.0)


def test_hours_of_silence_in_a_small_file_are_audio(tmp_path):
    """A bomb by its ratio, and yet what it says it is; memory does not grow with it."""
    path = tmp_path / "silence.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(3):
            file.write([0.0] * 8_000 * 60)
    assert path.stat().st_size < 200_000
    (job,) = make_plan([path], "c", None, {}).jobs
    found = analyse_track(job, PARAMS).analysis
    assert found.duration_s == pytest.approx(180)
    assert json.dumps(found.rhythm.tempo_bpm) == "null"
