import os
import time

import numpy as np
import pytest

from catalog.connection import connect
from catalog.errors import MissingIndex, StaleIndex
from catalog.index import (
    IndexParams,
    LowRecall,
    choose_kind,
    find_index,
    is_fresh,
    open_index,
    refresh_indexes,
)
from catalog.neighbours import NeighbourParams
from catalog.tables import PATTERNS, REJECTS, TRACKS, make_id
from catalog.vectors import DIMENSIONS
from tests.grooves import draw_vectors

SMALL = IndexParams(flat_below=50, codes="PQ48x4fsr")


def add_patterns(lake, vectors, name="a", instrument="drums"):
    """A track with one pattern for each vector; the identifiers of the patterns."""
    base = [{"corpus": "c", "track_id": make_id("track", name, number)} for number in range(len(vectors))]
    patterns = [
        row
        | {
            "pattern_id": make_id("pattern", name, number, instrument),
            "instrument_type": instrument,
            "fingerprint": None if vector is None else [float(value) for value in vector],
        }
        for number, (row, vector) in enumerate(zip(base, vectors, strict=True))
    ]
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows([row | {"privacy_setting": "public"} for row in base]))
        change.insert("patterns", PATTERNS.make_rows(patterns))
    return [row["pattern_id"] for row in patterns]


def read_similarities(lake):
    return lake.query("FROM pattern_similarities ORDER BY similarity_id").to_pylist()


def test_the_kind_follows_the_number_of_vectors():
    assert choose_kind(19_999) == "Flat"
    assert choose_kind(20_000) == "IVF512,PQ48x4fsr"
    assert choose_kind(1_000_000) == "IVF4096,PQ48x4fsr"


def test_an_index_that_misses_neighbours_is_not_published(lake, monkeypatch):
    add_patterns(lake, draw_vectors(60))
    (old,) = refresh_indexes(lake)
    add_patterns(lake, draw_vectors(60, seed=1), name="b")
    monkeypatch.setattr("catalog.index.tune_recall", lambda *_: 0.5)
    with pytest.raises(LowRecall, match=r"0\.500"):
        refresh_indexes(lake, SMALL)
    assert find_index(lake.connection, "drums")["index_version"] == old["index_version"]
    assert sorted(path.suffix for path in (lake.folder / "index").iterdir()) == [".arrow"]


def test_an_index_and_its_similarities_are_published_together(lake):
    add_patterns(lake, draw_vectors(60))
    (summary,) = refresh_indexes(lake, SMALL)
    row = find_index(lake.connection, "drums")
    assert (summary["kind"], summary["vectors"], summary["outcome"]) == ("IVF32,PQ48x4fsr", 60, "built")
    assert row["index_version"] == summary["index_version"]
    assert row["recall_at_10"] > 0.95
    assert {found["index_version"] for found in read_similarities(lake)} == {row["index_version"]}
    assert (lake.folder / row["uri"]).is_file()


def test_empty_vectors_are_left_out(lake):
    add_patterns(lake, [*draw_vectors(3), np.zeros(DIMENSIONS), np.full(DIMENSIONS, np.nan), None])
    assert refresh_indexes(lake)[0]["vectors"] == 3


def test_an_unchanged_lake_builds_nothing(lake):
    add_patterns(lake, draw_vectors(10))
    first = refresh_indexes(lake)
    snapshot = lake.snapshot
    second = refresh_indexes(lake)
    assert (first[0]["outcome"], second[0]["outcome"]) == ("built", "unchanged")
    assert lake.snapshot == snapshot


def test_other_limits_compute_the_similarities_again(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    (summary,) = refresh_indexes(lake, IndexParams(neighbours=NeighbourParams(count=1)))
    assert summary["outcome"] == "built"
    assert summary["similarities"] <= 10


def test_a_new_index_replaces_the_old_one_and_its_file(lake):
    add_patterns(lake, draw_vectors(10))
    (old,) = refresh_indexes(lake)
    add_patterns(lake, draw_vectors(10, seed=1), name="b")
    (new,) = refresh_indexes(lake)
    assert lake.query("SELECT index_version FROM index_versions")["index_version"].to_pylist() == [new["index_version"]]
    assert [path.stem for path in (lake.folder / "index").iterdir()] == [new["index_version"]]
    assert old["index_version"] != new["index_version"]


def test_an_instrument_without_patterns_loses_its_index(lake):
    ids = add_patterns(lake, draw_vectors(4), instrument="bass")
    refresh_indexes(lake)
    with lake.transaction("test") as change:
        change.delete("patterns", "pattern_id", ids)
    assert refresh_indexes(lake) == []
    assert len(lake.query("FROM index_versions")) == len(read_similarities(lake)) == 0
    assert not list((lake.folder / "index").iterdir())


def test_a_build_that_dies_leaves_yesterdays_index(lake, monkeypatch):
    add_patterns(lake, draw_vectors(10))
    (old,) = refresh_indexes(lake)
    before = read_similarities(lake)
    add_patterns(lake, draw_vectors(10, seed=1), name="b")

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("catalog.index.compute_neighbours", die)
        refresh_indexes(lake)
    assert find_index(lake.connection, "drums")["index_version"] == old["index_version"]
    assert read_similarities(lake) == before


def test_leftovers_of_a_killed_build_are_removed_after_a_day(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    leftover, running = (lake.folder / "index" / name for name in ("old.part", "running.part"))
    for path in (leftover, running):
        path.write_bytes(b"half an index")
    os.utime(leftover, (time.time() - 100_000,) * 2)
    refresh_indexes(lake)
    assert (leftover.exists(), running.exists()) == (False, True)


def test_patterns_removed_during_a_build_stop_the_publication(lake, monkeypatch):
    ids = add_patterns(lake, draw_vectors(10))
    from catalog import index

    write = index.write_rows

    def write_then_lose_one(connection, instrument, path):
        written = write(connection, instrument, path)
        with lake.transaction("purge") as change:
            change.delete("patterns", "pattern_id", ids[:1])
        return written

    monkeypatch.setattr(index, "write_rows", write_then_lose_one)
    with pytest.raises(StaleIndex, match="1 drums patterns were removed or made private"):
        refresh_indexes(lake)
    assert find_index(lake.connection, "drums") is None


def test_an_index_finds_the_pattern_itself_and_outlives_compaction(lake):
    vectors = draw_vectors(20)
    ids = add_patterns(lake, vectors)
    refresh_indexes(lake)
    lake.compact()
    with connect(lake.folder) as reader:
        opened = open_index(reader, lake.folder, "drums")
    scores, found = opened.find_nearest(vectors[3:4], 1)
    assert opened.rows["pattern_id"][int(found[0, 0])].as_py() == ids[3]
    assert scores[0, 0] == pytest.approx(1, abs=1e-5)


def test_an_index_stays_fresh_until_patterns_or_their_privacy_change(lake):
    ids = add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    row = find_index(lake.connection, "drums")
    assert is_fresh(lake.connection, row)
    with lake.transaction("other") as change:
        change.insert("rejects", REJECTS.make_rows([{"uri": "file:///x"}]))
    assert is_fresh(lake.connection, row)
    with lake.transaction("less") as change:
        change.delete("patterns", "pattern_id", ids[:1])
    assert not is_fresh(lake.connection, row)


def test_an_index_whose_snapshot_is_forgotten_can_still_be_fresh(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    assert is_fresh(lake.connection, find_index(lake.connection, "drums") | {"lake_snapshot": 10**6})


def test_a_missing_index_says_what_to_do(lake):
    with pytest.raises(MissingIndex, match="midime nightly"):
        open_index(lake.connection, lake.folder, "drums")


def test_a_damaged_index_file_is_not_opened(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    path = lake.folder / find_index(lake.connection, "drums")["uri"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MissingIndex, match="damaged"):
        open_index(lake.connection, lake.folder, "drums")


def test_a_damaged_index_file_is_built_again(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    (lake.folder / find_index(lake.connection, "drums")["uri"]).unlink()
    assert refresh_indexes(lake)[0]["outcome"] == "built"
    assert len(open_index(lake.connection, lake.folder, "drums")) == 10


def test_an_index_older_than_the_patterns_says_what_to_do(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    add_patterns(lake, draw_vectors(1, seed=1), name="b")
    with pytest.raises(StaleIndex, match="midime nightly"):
        open_index(lake.connection, lake.folder, "drums")
