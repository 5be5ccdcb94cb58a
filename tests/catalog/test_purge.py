"""Purging: nothing of a track is left, whatever happens meanwhile, and the search for traces finds what is left."""

import json
import uuid
from datetime import UTC, datetime

import pytest

import catalog.purge
from catalog.connection import connect
from catalog.dashboard.page import publish_page
from catalog.errors import LakeInUse, TracesLeft, UnknownId
from catalog.lake import Lake
from catalog.purge import NOTE, purge_tracks
from catalog.tables import BEATS, FILES, PATTERNS, REJECTS, RUNS, SECTIONS, SONG_GROUPS, STEMS, TRACKS, make_id

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE, TWO = make_id("track", "one"), make_id("track", "two")
BEATS_EACH = 2_000  # so many rows go to a file of their own, fewer into the catalogue


@pytest.fixture
def filled(lake):
    """A lake that holds two tracks wherever a track can be; the second is a copy of the first."""
    for name, track in (("one", ONE), ("two", TWO)):
        stem = f"stems/{track[:2]}/{track}/drums.flac"
        (lake.folder / stem).parent.mkdir(parents=True)
        (lake.folder / stem).write_bytes(b"flac")
        base = {"corpus": "c", "track_id": track}
        path = f"/music/{name} song.wav"
        song = {"source_song_id": ONE, "relation": "same", "parent_track_id": None if track == ONE else ONE}
        section = {"section_id": make_id("section", name)}
        beats = [base | {"time_s": float(index), "beat_in_bar": 1} for index in range(BEATS_EACH)]
        rows = {
            TRACKS: [base | {"file_hash": f"hash of {name}", "title": f"{name}, a title", "upload_date": NOW}],
            FILES: [base | {"uri": f"file://{path}".replace(" ", "%20"), "size_bytes": 1}],
            STEMS: [base | {"stem": "drums", "uri": stem, "backend": "none"}],
            BEATS: beats,
            SECTIONS: [base | section],
            PATTERNS: [base | section | {"pattern_id": make_id("pattern", name), "midi": name.encode()}],
            SONG_GROUPS: [{"track_id": track} | song],
            REJECTS: [{"corpus": "c", "uri": f"file:///elsewhere/{name}", "file_hash": f"hash of {name}"}],
            RUNS: [{"run_id": make_id("run", name), "flow": "ingest", "parameters": json.dumps({"sources": [path]})}],
        }
        with lake.transaction(f"add {name}") as change:
            for table, found in rows.items():
                change.insert(table.name, table.make_rows(found))
    (lake.folder / "index").mkdir()
    for part in ("arrow", "faiss", "leftover"):
        (lake.folder / "index" / f"drums.{part}").write_bytes(uuid.UUID(make_id("pattern", "one")).bytes)
    publish_page(lake.connection, lake.folder)
    return lake


def find_bytes(lake: Lake, *words: bytes) -> list[str]:
    """The files of the lake that hold one of these words somewhere."""
    files = [path for path in lake.folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(word in path.read_bytes() for word in words)]


def test_a_purged_track_leaves_no_byte(filled):
    removed = purge_tracks(filled, [ONE], grace_s=0)
    assert (removed["tracks"], removed["beats"], removed["stem_files"], removed["index_files"]) == (1, 2000, 1, 3)
    one = (ONE.encode(), uuid.UUID(ONE).bytes, make_id("pattern", "one").encode(), b"hash of one", b"one, a title")
    assert find_bytes(filled, *one, b"/music/one song.wav", b"/music/one%20song.wav") == []
    assert not (filled.folder / "stems" / ONE[:2]).exists()
    assert filled.connection.execute("SELECT count(*) FROM lake.snapshots()").fetchone()[0] <= 2
    assert not (filled.folder / NOTE).exists()


def test_the_other_tracks_stay_and_their_songs_are_judged_anew(filled):
    purge_tracks(filled, [ONE], grace_s=0)
    left = {
        table: filled.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("tracks", "files", "beats", "stems", "patterns", "rejects", "runs", "song_groups")
    }
    assert left == dict.fromkeys(left, 1) | {"beats": BEATS_EACH, "runs": 2, "song_groups": 0}
    assert filled.query("SELECT title FROM tracks WHERE title >= 'a'").to_pylist() == [{"title": "two, a title"}]
    assert filled.query("SELECT parameters FROM runs ORDER BY 1")["parameters"].to_pylist() == [
        '{"sources": ["(purged)"]}',
        '{"sources": ["/music/two song.wav"]}',
    ]
    with Lake.open(filled.folder) as again:
        problems = again.verify()
    assert problems == []


@pytest.mark.parametrize("step", ["erase_tracks", "_remove_files", "_clean_catalogue", "publish_page", "_search"])
def test_a_purge_that_dies_is_ended_by_the_next(filled, step, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog.purge, step, die)
    with pytest.raises(KeyboardInterrupt):
        purge_tracks(filled, [ONE], grace_s=0)
    monkeypatch.undo()
    assert purge_tracks(filled, [ONE], grace_s=0)["places_searched"] > 0
    assert find_bytes(filled, ONE.encode(), uuid.UUID(ONE).bytes, b"hash of one", b"one, a title") == []


@pytest.mark.parametrize(
    "word", [ONE.encode(), uuid.UUID(make_id("pattern", "one")).bytes, b"file:///music/one%20song.wav"]
)
def test_what_is_left_is_found(filled, word):
    (filled.folder / "notes.txt").write_bytes(b"about " + word)
    with pytest.raises(TracesLeft, match=r"notes\.txt"):
        purge_tracks(filled, [ONE], grace_s=0)


def test_rows_in_files_that_no_snapshot_knows_are_found(filled, monkeypatch):
    stray = filled.folder / "tables/main/beats/stray.parquet"
    filled.connection.execute(f"COPY (SELECT * FROM beats) TO '{stray}'")
    monkeypatch.setattr("catalog.lake.remove_orphans", lambda *_: {})
    with pytest.raises(TracesLeft, match="stray"):
        purge_tracks(filled, [ONE], grace_s=0)


def test_a_reader_in_the_middle_of_its_questions_is_not_disturbed(filled, monkeypatch):
    reader = connect(filled.folder)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM tracks").fetchall() == [(2,)]

    def ask(_):
        answers = reader.execute("SELECT count(*), sum(time_s) IS NULL FROM beats").fetchall()
        assert answers == [(2 * BEATS_EACH, False)]
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM beats").fetchall() == [(BEATS_EACH,)]

    monkeypatch.setattr("catalog.lake.time.sleep", ask)
    purge_tracks(filled, [ONE], grace_s=0)
    assert reader.execute("SELECT count(*) FROM tracks").fetchall() == [(1,)]


def test_a_reader_that_does_not_end_is_named_as_what_keeps_traces(filled):
    reader = connect(filled.folder)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM tracks").fetchall() == [(2,)]
    with pytest.raises(TracesLeft, match="a reader that began before"):
        purge_tracks(filled, [ONE], grace_s=0)
    reader.close()
    assert purge_tracks(filled, [ONE], grace_s=0)["places_searched"] > 0


def test_a_purge_is_refused_while_somebody_ingests(filled):
    with Lake.open(filled.folder) as other, other.at_work(), pytest.raises(LakeInUse, match="purge it when"):
        purge_tracks(filled, [ONE])


def test_purging_an_unknown_track_is_refused(lake):
    with pytest.raises(UnknownId, match="holds no track"):
        purge_tracks(lake, [ONE])
