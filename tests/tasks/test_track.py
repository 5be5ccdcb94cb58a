"""One track through the chain, from a real file to rows."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from catalog.file_record import hash_file
from catalog.tables import BY_NAME, TRACK_TABLES, make_id
from tasks.errors import BadCheckpoint
from tasks.music.beats import Rhythm, no_pulse
from tasks.music.drums import Hits
from tasks.plan import make_plan
from tasks.rows import make_rows
from tasks.track import TrackParams, analyse_track, settle_hits, stage_versions

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def run(path: Path, **params):
    (job,) = make_plan([path], "c", None, {}).jobs
    return analyse_track(job, TrackParams(**{"stems": 0} | params))


@pytest.fixture(scope="module")
def backbeat(write_track, tmp_path_factory):
    return write_track(tmp_path_factory.mktemp("track") / "beat.wav")


@pytest.fixture(scope="module")
def mixed(backbeat):
    return run(backbeat).analysis


def test_the_tempo_and_bars_of_a_backbeat_are_found(mixed):
    assert mixed.rhythm.tempo_bpm == pytest.approx(120, rel=0.02)
    assert mixed.rhythm.time_signature == "4/4"


def test_kick_and_snare_alternate(mixed):
    hits = mixed.played.hits
    kicks, snares = (hits.time_s[hits.instrument == name] for name in ("kick", "snare"))
    assert np.all(np.min(np.abs(kicks[:, None] - np.arange(0, 12, 1.0)), axis=1) < 0.05)
    assert np.all(np.min(np.abs(snares[:, None] - np.arange(0.5, 12, 1.0)), axis=1) < 0.05)


def test_the_pattern_has_a_vector_of_unit_length(mixed):
    (folded,) = mixed.patterns
    assert np.linalg.norm(folded.fingerprint) == pytest.approx(1, abs=1e-5)
    assert folded.midi.startswith(b"MThd")


def test_a_pattern_is_folded_in_every_way_that_it_can_be_counted(mixed):
    rhythm = mixed.rhythm
    twice = replace(rhythm, time_s=rhythm.time_s[::2], beat_in_bar=np.arange(len(rhythm.time_s[::2])) % 4 + 1)
    (other,) = replace(mixed, rhythm=replace(rhythm, others=(twice,))).count_otherwise("drums")
    assert other.instrument_type == "drums"
    assert other.fingerprint @ mixed.best_pattern("drums").fingerprint < 0.95


def test_every_table_of_a_track_has_rows_of_its_schema(mixed, backbeat):
    (job,) = make_plan([backbeat], "c", None, {}).jobs
    made = make_rows(mixed, job, make_id("run", 1), NOW, None, "public")
    assert set(made) == {table.name for table in TRACK_TABLES}
    for name, rows in made.items():
        assert BY_NAME[name].make_rows(rows).num_rows == len(rows)
    assert set(json.loads(made["patterns"][0]["midi_data"])) >= {"kick", "snare", "hihat"}


def test_the_same_file_gives_the_same_rows(mixed, backbeat):
    (job,) = make_plan([backbeat], "c", None, {}).jobs
    first, second = (
        make_rows(found, job, make_id("run", 1), NOW, None, "public") for found in (mixed, run(backbeat).analysis)
    )
    for name in set(first) - {"track_stages"}:
        assert BY_NAME[name].make_rows(first[name]).equals(BY_NAME[name].make_rows(second[name]))


def test_every_stage_that_runs_is_recorded(mixed):
    assert {stage.stage: stage.stage_version for stage in mixed.stages} == stage_versions(TrackParams(stems=0))


def test_stems_are_filed_under_the_track(backbeat, tmp_path):
    result = run(backbeat, stems=2, lake=str(tmp_path))
    folder = tmp_path / "stems" / result.job.track_id[:2] / result.job.track_id
    assert {tmp_path / stem.uri for stem in result.analysis.stems} == set(folder.iterdir())
    for stem in result.analysis.stems:
        assert hash_file(tmp_path / stem.uri) == stem.sha256
        assert (tmp_path / stem.uri).stat().st_size == stem.size_bytes
        assert Path(stem.uri).name == f"{stem.stem}.{stem.sha256[:12]}.flac"
        assert soundfile.info(tmp_path / stem.uri).frames == 12 * 44_100


def test_a_part_can_be_analysed(backbeat):
    from tasks.track import analyse_file

    assert analyse_file(backbeat, TrackParams(stems=0), 2.0, 6.0).duration_s == pytest.approx(4.0)


def test_silence_invents_nothing(tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros((44_100 * 5, 2)), 44_100)
    found = run(path).analysis
    assert (found.rhythm.tempo_bpm, found.key.detected_key) == (None, None)
    assert (len(found.played.hits), found.patterns) == (0, [])
    assert found.levels.loudness_lufs is None


@pytest.mark.parametrize(
    ("name", "data", "reason"), [("text.mp3", b"not music" * 99, "not_audio"), ("cut.flac", b"fLaC\0", "corrupt")]
)
def test_a_bad_file_becomes_a_fault(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    fault = run(tmp_path / name).fault
    assert (fault.reason, fault.stage, fault.failed) == (reason, "decode", False)


def test_a_model_that_cannot_be_used_is_no_fault_of_the_track(backbeat, tmp_path):
    (tmp_path / "2stems").mkdir()
    (tmp_path / "2stems/model.index").write_bytes(b"cut")
    with pytest.raises(BadCheckpoint, match="expected the table magic"):
        run(backbeat, stems=2, model_path=str(tmp_path))


def test_a_track_that_takes_too_long_is_ended(backbeat):
    fault = run(backbeat, timeout_s=0).fault
    assert (fault.reason, fault.failed) == ("timeout", True)


def test_a_fault_leaves_no_stems(tmp_path, write_track):
    path = write_track(tmp_path / "short.wav")
    result = run(path, stems=2, lake=str(tmp_path / "lake"), timeout_s=0)
    assert result.fault.reason == "timeout"
    assert not list((tmp_path / "lake").rglob("*.flac*"))


def test_the_identifier_of_a_track_is_its_content(backbeat):
    assert run(backbeat).job.track_id == make_id("track", hash_file(backbeat))


@pytest.mark.parametrize("stems", [0, 2, 4])
def test_two_bars_have_the_grid_of_a_loop_whatever_is_separated(tmp_path, backbeat, stems):
    samples, rate_hz = soundfile.read(backbeat, frames=4 * 44_100)
    soundfile.write(tmp_path / "loop.wav", samples, rate_hz)
    rhythm = run(tmp_path / "loop.wav", stems=stems).analysis.rhythm
    assert rhythm.groove is not None
    assert rhythm.groove.beat_in_bar.tolist()[:4] == [1, 2, 3, 4]


def test_a_few_hits_stay_only_where_there_is_a_pulse():
    few = Hits(np.array([3.0, 9.0]), np.array(["kick", "kick"]), np.full(2, 90), np.full(2, 0.6, np.float32))
    beats = Rhythm(np.arange(0.0, 30, 0.5), np.arange(60) % 4 + 1, tempo_bpm=120.0)
    loop = Rhythm(beats.time_s[:8], beats.beat_in_bar[:8], tempo_bpm=120.0, tempo_confidence=0.9)
    assert len(settle_hits(few, beats, 30.0)) == 2
    assert len(settle_hits(few, no_pulse(), 30.0)) == 0
    assert len(settle_hits(few, replace(no_pulse(), groove=loop), 30.0)) == 2
    assert len(settle_hits(few, replace(no_pulse(), groove=replace(loop, tempo_confidence=0.2)), 30.0)) == 0


def test_silence_around_a_few_hits_is_no_evidence_against_them():
    fill = Hits(9.0 + 0.25 * np.arange(8), np.full(8, "tom"), np.full(8, 90), np.full(8, 0.7, np.float32))
    assert len(settle_hits(fill, no_pulse(), 30.0)) == 8
    alone = Hits(*(field[:1] for field in vars(replace(fill, confidence=np.ones(8, np.float32))).values()))
    assert len(settle_hits(alone, no_pulse(), 30.0)) == 0
    assert len(settle_hits(Hits(*(field[:0] for field in vars(fill).values())), no_pulse(), 30.0)) == 0
