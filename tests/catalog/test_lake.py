"""The lake: what is committed together is seen together, and what is purged is gone."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import catalog
from catalog.clients import attach_statement
from catalog.connection import newest_snapshot
from catalog.errors import BadQuery, LakeInUse, LakeNotFound, OpenSecret, UnreadableLake, UnwritableLake
from catalog.file_record import hash_file, list_files
from catalog.lake import Lake
from catalog.tables import BEATS, FILES, ONSETS, PATTERNS, RUNS, SECTIONS, TABLES, TRACKS, make_id

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TRACK = make_id("track", "one")


def add_track(
    lake: Lake, name: str = "one", beats: int = 2000, stem_uri: str | None = None, sha256: str | None = None
) -> str:
    track = make_id("track", name)
    base = {"corpus": "c", "track_id": track}
    with lake.transaction(f"add {name}") as change:
        row = {"file_hash": name, "privacy_setting": "public", "upload_date": NOW, "user_id": name}
        change.insert("tracks", TRACKS.make_rows([base | row]))
        change.insert("files", FILES.make_rows([base | {"uri": f"file:///{name}", "size_bytes": 1}]))
        change.insert("beats", BEATS.make_rows([base | {"time_s": float(i), "beat_in_bar": 1} for i in range(beats)]))
        if stem_uri:
            stem = {"stem": "drums", "uri": stem_uri, "sha256": sha256, "backend": "none"}
            change.insert("stems", catalog.tables.STEMS.make_rows([base | stem]))
    return track


def count(connection, table: str) -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_reader_sees_a_transaction_whole_or_not_at_all(lake):
    reader = catalog.connect(lake.folder)
    with lake.transaction("both") as change:
        change.insert("beats", BEATS.make_rows([{"corpus": "c", "track_id": TRACK, "time_s": 0.0}]))
        change.insert("onsets", ONSETS.make_rows([{"corpus": "c", "track_id": TRACK, "time_s": 0.0}]))
        assert (count(reader, "beats"), count(reader, "onsets")) == (0, 0)
    assert (count(reader, "beats"), count(reader, "onsets")) == (1, 1)


def test_a_transaction_that_fails_leaves_nothing(lake):
    with pytest.raises(RuntimeError, match="half-way"), lake.transaction("fails") as change:
        change.insert("beats", BEATS.make_rows([{"corpus": "c", "track_id": TRACK, "time_s": 0.0}]))
        raise RuntimeError("half-way")
    assert count(lake.connection, "beats") == 0


def test_a_reader_cannot_write(lake):
    with pytest.raises(Exception, match="read-only"):
        catalog.connect(lake.folder).execute("DELETE FROM tracks")


def test_upsert_replaces_the_row_with_the_same_key(lake):
    for size in (1, 2):
        with lake.transaction("file") as change:
            change.upsert("files", FILES.make_rows([{"corpus": "c", "uri": "file:///a", "size_bytes": size}]))
    assert lake.query("SELECT size_bytes FROM files").to_pylist() == [{"size_bytes": 2}]


def test_an_older_snapshot_can_be_read(lake):
    add_track(lake, "one")
    before = newest_snapshot(catalog.connect(lake.folder))
    add_track(lake, "two")
    assert count(catalog.connect(lake.folder, snapshot=before), "tracks") == 1


def test_partitions_lie_in_folders_by_corpus(lake):
    add_track(lake)
    assert list((lake.folder / "tables").glob("**/beats/corpus=c/*.parquet"))


def test_a_lake_can_be_moved(lake, tmp_path):
    add_track(lake)
    lake.close()
    moved = lake.folder.rename(tmp_path / "moved")
    assert count(catalog.connect(moved), "beats") == 2000


def test_opening_again_declares_nothing_new(lake):
    before = lake.snapshot
    with Lake.open(lake.folder) as again:
        assert again.snapshot == before


def test_a_sound_lake_has_no_problems(lake):
    add_track(lake)
    assert lake.verify() == []


def test_verify_names_a_changed_file(lake):
    add_track(lake)
    path = next((lake.folder / "tables").glob("**/beats/**/*.parquet"))
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    assert [problem for problem in lake.verify() if path.name in problem and "changed" in problem]


def test_verify_names_a_missing_file(lake):
    add_track(lake)
    path = next((lake.folder / "tables").glob("**/beats/**/*.parquet"))
    path.rename(lake.folder / "elsewhere")
    problems = lake.verify()
    assert [problem for problem in problems if path.name in problem and "missing" in problem]


def test_verify_names_rows_of_unknown_tracks(lake):
    with lake.transaction("lost") as change:
        change.insert("beats", BEATS.make_rows([{"corpus": "c", "track_id": TRACK, "time_s": 0.0}]))
    assert lake.verify() == ["beats has 1 rows with a track_id of unknown tracks."]


def test_verify_names_a_doubled_key(lake):
    add_track(lake, beats=0)
    add_track(lake, beats=0)
    assert "tracks has 1 keys (track_id) more than once." in lake.verify()


def test_verify_names_a_missing_stem(lake):
    add_track(lake, stem_uri="stems/x/drums.flac")
    assert lake.verify() == ["stems/x/drums.flac is missing."]


def test_compacting_keeps_every_row(lake):
    for index in range(6):
        add_track(lake, f"track {index}")
    done = lake.compact()
    assert (done["files_after"] < done["files_before"], count(lake.connection, "beats")) == (True, 12_000)
    assert lake.verify() == []


def test_recent_snapshots_survive_compaction(lake):
    add_track(lake)
    before = newest_snapshot(catalog.connect(lake.folder))
    lake.compact(retention=timedelta(days=1))
    assert count(catalog.connect(lake.folder, snapshot=before), "beats") == 2000


def test_a_missing_lake_is_named(tmp_path):
    with pytest.raises(LakeNotFound, match="no lake in"):
        catalog.connect(tmp_path)


def test_a_lake_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableLake, match="cannot be written"):
        Lake.open(tmp_path / "file" / "lake")


def test_a_wrong_query_says_what_duckdb_says(lake):
    with pytest.raises(BadQuery, match="nosuchtable"):
        lake.query("FROM nosuchtable")


class Unsure:
    """A connection that loses the answer to a commit, or the commit itself."""

    def __init__(self, connection, arrives: bool):
        self._connection, self._arrives = connection, arrives

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, sql, *parameters):
        if sql == "COMMIT":
            if self._arrives:
                self._connection.execute(sql)
            raise duckdb.ConnectionException("The connection was lost.")
        return self._connection.execute(sql, *parameters)


def test_a_commit_whose_answer_is_lost_has_happened(lake):
    real, lake.connection = lake.connection, Unsure(lake.connection, arrives=True)
    lake._record_files = lambda: None
    with lake.transaction("once") as change:
        change.insert("runs", RUNS.make_rows([{"run_id": make_id("run", 1), "flow": "ingest"}]))
    lake.connection = real
    assert lake.query("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 1}]


def test_a_commit_that_is_lost_has_not_happened(lake):
    real, lake.connection = lake.connection, Unsure(lake.connection, arrives=False)
    with pytest.raises(duckdb.ConnectionException), lake.transaction("never") as change:
        change.insert("runs", RUNS.make_rows([{"run_id": make_id("run", 1), "flow": "ingest"}]))
    lake.connection = real
    assert lake.query("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 0}]


def test_repair_removes_what_nobody_refers_to_and_nothing_else(lake):
    uri = "stems/ab/one/drums.flac"
    (lake.folder / "stems/ab/one").mkdir(parents=True)
    for name in ("drums.flac", "old.flac", ".half.flac.part"):
        (lake.folder / "stems/ab/one" / name).write_bytes(b"flac")
    add_track(lake, stem_uri=uri)
    stray = lake.folder / "tables/main/stems/stray.parquet"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"half a file")
    assert lake.repair() == {"table files": 1, "stem files": 2}
    assert [path.name for path in (lake.folder / "stems/ab/one").iterdir()] == ["drums.flac"]
    assert lake.verify() == []


def test_repair_keeps_the_stems_of_old_snapshots_until_they_are_forgotten(lake):
    uri = "stems/ab/one/drums.flac"
    (lake.folder / uri).parent.mkdir(parents=True)
    (lake.folder / uri).write_bytes(b"flac")
    add_track(lake, stem_uri=uri)
    with lake.transaction("another version") as change:
        change.clear("stems")
    assert lake.repair()["stem files"] == 0
    lake.compact(timedelta(0))
    assert lake.repair()["stem files"] == 1


def test_repair_is_refused_while_somebody_writes_stems(lake):
    with lake.at_work(), pytest.raises(LakeInUse, match="An ingest or a nightly run is at work"):
        lake.repair()


def test_a_changed_stem_is_found(lake):
    path = lake.folder / "stems/x/drums.flac"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"flac")
    add_track(lake, stem_uri="stems/x/drums.flac", sha256=hash_file(path))
    assert lake.verify() == []
    path.write_bytes(b"FLAC")
    assert lake.verify() == ["stems/x/drums.flac has changed since it was committed."]


def test_a_commit_stands_although_its_files_cannot_be_recorded(lake, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("catalog.file_record.measure_file", fail)
    add_track(lake)
    monkeypatch.undo()
    assert lake.verify() == []
    assert count(lake.connection, "data_files") > 0


@pytest.mark.parametrize("table", ["beats", "tracks", "data_files"])
@pytest.mark.parametrize("damage", ["torn", "gone", "noise"])
def test_verify_never_falls_over_a_damaged_file(lake, table, damage):
    add_track(lake)
    add_track(lake, "two")
    lake.compact()
    (found,) = lake.connection.execute(f"SELECT data_file FROM ducklake_list_files('lake', '{table}')").fetchall()[:1]
    path = Path(*found)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "torn" else bytes(byte ^ 0x5A for byte in data))
    with Lake.open(lake.folder) as opened:
        problems = opened.verify()
    assert any(table in problem for problem in problems), problems


def test_verify_names_a_changed_file_of_deletions(lake):
    add_track(lake)
    with lake.transaction("some") as change:
        change.connection.execute("DELETE FROM beats WHERE time_s > 10")
    path = next((lake.folder / "tables").glob("**/beats/**/*-delete.parquet"))
    assert lake.verify() == []
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert [problem for problem in lake.verify() if path.name in problem and "changed" in problem]


def test_verify_compares_columns_and_values_with_their_declaration(lake):
    add_track(lake)
    with lake.transaction("wrong") as change:
        change.connection.execute("UPDATE tracks SET tempo_confidence = 1.5")
        change.connection.execute("ALTER TABLE runs DROP COLUMN message")
        section = {"corpus": "c", "track_id": TRACK, "section_id": make_id("section", 1), "confidence": 0.5}
        change.insert("sections", SECTIONS.make_rows([section]))
        pattern = {"corpus": "c", "track_id": TRACK, "section_id": make_id("section", 2)}
        change.insert("patterns", PATTERNS.make_rows([pattern]))
    assert sorted(lake.verify()) == [
        "patterns has 1 rows with a section_id of unknown sections.",
        "patterns has 1 rows without a key.",
        "runs has no column message.",
        "tracks has 1 rows whose tempo_confidence is not from 0 to 1.",
    ]


SECRETS = ["postgres:dbname=m host=127.0.0.1 password=hunter2", "postgres:postgresql://ann:hunter2@127.0.0.1/m"]


@pytest.mark.parametrize("address", SECRETS)
@pytest.mark.parametrize("use", [catalog.connect, Lake.open, attach_statement])
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path, address, use):
    with pytest.raises(OpenSecret, match="PGPASSWORD") as caught:
        use(tmp_path, address)
    assert "hunter2" not in str(caught.value)


def test_a_catalogue_that_does_not_answer_is_named_in_one_line(tmp_path):
    with pytest.raises(UnreadableLake, match="cannot be opened") as caught:
        catalog.connect(tmp_path, "postgres:dbname=m host=127.0.0.1 port=1")
    assert len(str(caught.value).splitlines()) == 1


def test_the_files_of_the_lake_are_those_that_ducklake_lists(lake):
    for number in range(3):
        add_track(lake, str(number))
    with lake.transaction("delete") as change:
        change.connection.execute("DELETE FROM tracks WHERE track_id = (SELECT min(track_id) FROM tracks)")
    assert_files_are_those_of_ducklake(lake)
    lake.compact()
    assert_files_are_those_of_ducklake(lake)


def assert_files_are_those_of_ducklake(lake):
    expected = {}
    for table in TABLES:
        for paths in lake.connection.execute(f"FROM ducklake_list_files('lake', '{table.name}')").fetchall():
            expected |= {path: table.name for path in paths if isinstance(path, str) and path.endswith(".parquet")}
    found = {str(lake.folder.resolve() / uri): table for uri, table in list_files(lake.connection, lake.folder).items()}
    assert found == expected


def test_a_lake_that_is_just_being_made_is_not_there_yet(tmp_path):
    with sqlite3.connect(tmp_path / "catalog.sqlite") as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    with pytest.raises(LakeNotFound, match="There is no lake in"):
        catalog.connect(tmp_path)
