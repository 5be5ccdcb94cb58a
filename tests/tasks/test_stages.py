"""Stages that changed run again with those that depend on them, from the stems that are stored; no other row moves."""

from dataclasses import replace
from pathlib import Path

import pytest

from catalog.lake import Lake
from catalog.tables import TRACK_TABLES, make_id
from tasks.commit import Owner, commit_shard
from tasks.plan import make_plan
from tasks.rows import TABLE_STAGES, TRACK_COLUMNS
from tasks.stages import NEEDS, follow
from tasks.track import VERSIONS, TrackParams, analyse_track, stage_versions

FIRST, SECOND = make_id("run", "first"), make_id("run", "second")


def test_every_stage_has_its_place():
    assert set(NEEDS) == set(VERSIONS)


def test_stages_come_after_those_they_need():
    order = list(NEEDS)
    assert all(order.index(needed) < order.index(stage) for stage, needs in NEEDS.items() for needed in needs)


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        (["decode"], set(NEEDS)),
        (["beats"], {"beats", "beatchroma", "drums", "sections", "patterns", "midi"}),
        (["key"], {"key", "beats", "beatchroma", "drums", "sections", "patterns", "midi"}),
        (["notes"], {"notes", "patterns", "midi"}),
        (["chromaprint", "midi"], {"chromaprint", "midi"}),
        ([], set()),
    ],
)
def test_what_depends_on_a_stage_follows_it(changed, again):
    assert follow(changed) == again


def test_a_stage_that_nobody_knows_is_no_stage():
    with pytest.raises(KeyError):
        follow(["colour"])


def test_every_table_and_column_of_a_track_belongs_to_stages():
    assert set(TABLE_STAGES) == {table.name for table in TRACK_TABLES} - {"tracks", "track_stages"}
    owned = {"corpus", "track_id", "file_hash", "user_id", "privacy_setting", "upload_date"}
    columns = set().union(*TRACK_COLUMNS.values())
    assert columns | owned == set(TRACK_TABLES[0].columns)


@pytest.fixture(scope="module")
def first(write_track, tmp_path_factory):
    """A lake with one track in two stems: its folder, the source, and how it is analysed."""
    folder = tmp_path_factory.mktemp("stages")
    write_track(folder / "corpus" / "a.wav")
    params = TrackParams(lake=str(folder / "lake"), stems=2)
    with Lake.open(params.lake) as lake:
        ingest(lake, folder / "corpus", params, FIRST)
    return folder, params


@pytest.fixture
def lake(first, tmp_path):
    """A copy of that lake, its source and the parameters to run it again."""
    import shutil

    folder, params = first
    shutil.copytree(folder / "lake", tmp_path / "lake")
    with Lake.open(tmp_path / "lake") as opened:
        yield opened, folder / "corpus", replace(params, lake=str(tmp_path / "lake"))


def ingest(lake, source, params, run_id, **options) -> list:
    plan = make_plan([source], "c", lake.connection, stage_versions(params), **options)
    results = [analyse_track(job, params) for job in plan.jobs]
    commit_shard(lake, "c/000", results, run_id, Owner())
    return results


def read(lake: Lake) -> dict:
    """Every row of every table of a track but the stages, without the time at which patterns were written."""
    names = [table.name for table in TRACK_TABLES if table.name != "track_stages"]
    left_out = {"patterns": "EXCLUDE (created_at)"}
    return {
        name: lake.query(f"SELECT * {left_out.get(name, '')} FROM {name} ORDER BY ALL").to_pylist() for name in names
    }


def runs_of(lake: Lake) -> dict[str, str]:
    return {row["stage"]: row["run_id"] for row in lake.query("SELECT stage, run_id FROM track_stages").to_pylist()}


def separations(monkeypatch) -> list:
    """A list that grows by one with each separation."""
    import tasks.track

    calls, load = [], tasks.track.load_separator
    monkeypatch.setattr(tasks.track, "load_separator", lambda *given: calls.append(given) or load(*given))
    return calls


def test_a_forced_stage_reads_the_stored_stems_and_gives_equal_rows(lake, monkeypatch):
    opened, source, params = lake
    separated, before = separations(monkeypatch), read(opened)
    (result,) = ingest(opened, source, params, SECOND, force="drums")
    assert (result.job.stages, separated) == ({"drums", "patterns", "midi"}, [])
    assert read(opened) == before
    assert {stage for stage, run_id in runs_of(opened).items() if run_id == SECOND} == {"drums", "patterns", "midi"}
    assert opened.verify() == []


def test_a_new_version_of_a_stage_runs_it_and_what_depends_on_it(lake, monkeypatch):
    opened, source, params = lake
    monkeypatch.setitem(VERSIONS, "beats", "beats-of-tomorrow")
    separated, before = separations(monkeypatch), read(opened)
    ingest(opened, source, params, SECOND)
    again = {stage for stage, run_id in runs_of(opened).items() if run_id == SECOND}
    assert (again, separated) == ({"beats", "beatchroma", "drums", "sections", "patterns", "midi"}, [])
    assert read(opened) == before
    assert make_plan([source], "c", opened.connection, stage_versions(params)).unchanged == 1


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)])
def test_a_missing_or_damaged_stem_is_separated_again(lake, monkeypatch, damage):
    opened, source, params = lake
    separated, before = separations(monkeypatch), read(opened)
    (uri,) = [row["uri"] for row in before["stems"] if row["stem"] == "vocals"]
    damage(opened.folder / uri)
    ingest(opened, source, params, SECOND, force="drums")
    assert len(separated) == 1
    assert read(opened) == before
    assert opened.verify() == []


def test_rows_of_stages_that_did_not_run_stay_as_they_are(lake):
    opened, source, params = lake
    with opened.transaction("mark") as change:
        change.connection.execute("UPDATE tracks SET detected_key = 'marked', tempo_bpm = 1, user_id = 'ann'")
        change.clear("onsets")
    ingest(opened, source, params, SECOND, force="beats")
    (track,) = opened.query("SELECT detected_key, tempo_bpm, user_id FROM tracks").to_pylist()
    assert (track["detected_key"], track["user_id"], round(track["tempo_bpm"])) == ("marked", "ann", 120)
    assert opened.query("FROM onsets").num_rows == 0


def test_fingerprints_of_stages_that_did_not_run_keep_their_rows(lake):
    opened, source, params = lake
    sql = "SELECT algorithm, rowid FROM fingerprints ORDER BY algorithm"
    before = opened.connection.execute(sql).fetchall()
    ingest(opened, source, params, SECOND, force="beats")
    after = opened.connection.execute(sql).fetchall()
    changed = {algorithm for algorithm, _ in set(before) ^ set(after)}
    assert (len(before), len(after), changed) == (3, 3, {"beat-chroma-1"})


@pytest.mark.parametrize(
    ("algorithm", "damage"),
    [
        ("chromaprint", "algorithm = 'chromaprint-test1'"),
        ("chromaprint", "hop_s = 0.1"),
        ("chromaprint", "items = NULL"),
        ("beat-chroma", "items = [1, 2]"),
    ],
    ids=["foreign", "another hop", "lost", "cut off"],
)
def test_a_fingerprint_that_cannot_be_compared_is_made_again(lake, monkeypatch, algorithm, damage):
    opened, source, params = lake
    separated, before = separations(monkeypatch), read(opened)
    with opened.transaction("damage") as change:
        change.connection.execute(f"UPDATE fingerprints SET {damage} WHERE algorithm LIKE '{algorithm}%'")
    (result,) = ingest(opened, source, params, SECOND)
    assert (result.job.stages, separated) == ({"chromaprint", "peaks", "beatchroma"}, [])
    assert read(opened) == before
    assert make_plan([source], "c", opened.connection, stage_versions(params)).unchanged == 1


def test_other_stems_are_separated_and_the_old_files_stay_for_old_snapshots(lake):
    opened, source, params = lake
    old = {row["uri"] for row in read(opened)["stems"]}
    ingest(opened, source, replace(params, stems=4), SECOND)
    stems = {row["stem"]: row["uri"] for row in read(opened)["stems"]}
    assert set(stems) == {"vocals", "drums", "bass", "other"}
    again = {stage for stage, run_id in runs_of(opened).items() if run_id == SECOND}
    assert again == follow(["separate"])
    opened.repair()
    assert all((opened.folder / uri).is_file() for uri in old | set(stems.values()))
    assert opened.verify() == []
