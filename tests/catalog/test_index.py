import os
import time

import numpy as np
import pytest

from catalog.errors import MissingIndex, StaleIndex
from catalog.index import (
    DIMENSIONS,
    IndexParams,
    Patterns,
    bound_number,
    build_index,
    choose_kind,
    find_index,
    find_neighbours,
    measure_recall,
    number_patterns,
    open_index,
    refresh_indexes,
    search_index,
)
from catalog.lake import connect
from catalog.tables import PATTERNS, TRACKS, make_id

SMALL_GRAPH = IndexParams(flat_below=50)


def draw_vectors(count, seed=0, families=8):
    """Vectors of unit length around a few grooves, float32 (count, DIMENSIONS)."""
    rng = np.random.default_rng(seed)
    centres = rng.random((families, DIMENSIONS)) < 0.25
    vectors = centres[rng.integers(0, families, count)] + 0.3 * rng.random((count, DIMENSIONS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


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
    assert choose_kind(9_999) == "Flat"
    assert choose_kind(10_000) == "HNSW32"
    assert choose_kind(1_000_000) == "IVF4096,Flat"


def test_numbers_keep_the_order_and_bound_the_identifier():
    ids = sorted(make_id("pattern", number) for number in range(100))
    numbers = number_patterns(ids)
    assert (np.diff(numbers) > 0).all()
    low, high = bound_number(int(numbers[3]))
    assert low <= ids[3] <= high < ids[4]


@pytest.mark.parametrize("kind", ["Flat", "HNSW32", "IVF16,Flat"])
def test_every_kind_finds_the_nearest_by_their_numbers(kind):
    vectors, numbers = draw_vectors(2000), np.arange(2000, dtype=np.int64) * 7
    assert measure_recall(build_index(vectors, numbers, kind), vectors, numbers, sample=50) > 0.9


def test_the_same_vectors_give_the_same_graph(lake, tmp_path):
    import faiss

    vectors, numbers = draw_vectors(500), np.arange(500, dtype=np.int64)
    first, second = (faiss.serialize_index(build_index(vectors, numbers, "HNSW32")) for _ in range(2))
    assert (first == second).all()


def test_an_index_and_its_similarities_are_published_together(lake):
    add_patterns(lake, draw_vectors(60))
    (summary,) = refresh_indexes(lake, SMALL_GRAPH)
    row = find_index(lake.connection, "drums")
    assert (summary["kind"], summary["vectors"], summary["built"]) == ("HNSW32", 60, True)
    assert row["index_version"] == summary["index_version"]
    assert row["recall_at_10"] > 0.95
    assert {found["index_version"] for found in read_similarities(lake)} == {row["index_version"]}
    assert (lake.folder / row["uri"]).is_file()


def neighbours_of(vectors, tracks, public=None, params=IndexParams()):
    """The neighbours of each pattern with their scores, by their places among the vectors."""
    ids = sorted(make_id("pattern", number) for number in range(len(vectors)))
    public = np.ones(len(vectors), bool) if public is None else public
    numbers = number_patterns(ids)
    patterns = Patterns(ids, tracks, public, vectors, contents=0, snapshot=0)
    found = {}
    for batch in find_neighbours(build_index(vectors, numbers, "Flat"), patterns, numbers, params):
        for row in batch.to_pylist():
            first, second = ids.index(row["pattern_id_1"]), ids.index(row["pattern_id_2"])
            found.setdefault(first, {})[second] = row["similarity_score"]
    return found


def test_neighbours_are_the_nearest_of_other_tracks():
    vectors, tracks = draw_vectors(40), np.arange(40) // 4
    cosines = np.where(tracks[:, None] == tracks, -1, vectors @ vectors.T)
    found = neighbours_of(vectors, tracks, params=IndexParams(neighbours=5))
    for number, row in enumerate(cosines):
        best = [other for other in np.argsort(-row)[:5] if row[other] >= 0.7]
        assert found.get(number, {}) == pytest.approx({other: row[other] for other in best}, abs=1e-5)


def test_private_patterns_are_nobodys_neighbours():
    vectors = np.repeat(draw_vectors(1), 4, axis=0)
    found = neighbours_of(vectors, np.arange(4), public=np.array([True, True, False, True]))
    assert {number: set(others) for number, others in found.items()} == {0: {1, 3}, 1: {0, 3}, 3: {0, 1}}


def test_empty_vectors_are_left_out(lake):
    add_patterns(lake, [*draw_vectors(3), np.zeros(DIMENSIONS), np.full(DIMENSIONS, np.nan), None])
    assert refresh_indexes(lake)[0]["vectors"] == 3


def test_an_unchanged_lake_builds_nothing(lake):
    add_patterns(lake, draw_vectors(10))
    first = refresh_indexes(lake)
    snapshot = lake.snapshot
    second = refresh_indexes(lake)
    assert (first[0]["built"], second[0]["built"]) == (True, False)
    assert lake.snapshot == snapshot


def test_other_limits_compute_the_similarities_again(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    (summary,) = refresh_indexes(lake, IndexParams(neighbours=1))
    assert summary["built"]
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
        patch.setattr("catalog.index.find_neighbours", die)
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

    read = index.read_patterns

    def read_then_lose_one(connection, instrument):
        patterns = read(connection, instrument)
        with lake.transaction("purge") as change:
            change.delete("patterns", "pattern_id", ids[:1])
        return patterns

    monkeypatch.setattr(index, "read_patterns", read_then_lose_one)
    with pytest.raises(StaleIndex, match="1 drums patterns were removed"):
        refresh_indexes(lake)
    assert find_index(lake.connection, "drums") is None


def test_an_index_finds_the_pattern_itself_and_outlives_compaction(lake):
    vectors = draw_vectors(20)
    ids = add_patterns(lake, vectors)
    refresh_indexes(lake)
    lake.compact()
    with connect(lake.folder) as reader:
        opened = open_index(reader, lake.folder, "drums")
    scores, numbers = opened.find_nearest(vectors[3:4], 1)
    assert numbers[0, 0] == number_patterns([ids[3]])[0]
    assert scores[0, 0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["Flat", "HNSW32", "IVF4,Flat"])
def test_a_search_can_be_kept_to_some_numbers(kind):
    vectors, numbers = draw_vectors(200), np.arange(200, dtype=np.int64) * 3
    _, found = search_index(build_index(vectors, numbers, kind), vectors[:1], 20, numbers[::10])
    assert set(found[0]) == set(numbers[::10])


def test_a_missing_index_says_what_to_do(lake):
    with pytest.raises(MissingIndex, match="midime nightly"):
        open_index(lake.connection, lake.folder, "drums")


def test_a_damaged_index_file_is_not_opened(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    path = lake.folder / find_index(lake.connection, "drums")["uri"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(MissingIndex, match="damaged"):
        open_index(lake.connection, lake.folder, "drums")


def test_a_damaged_index_file_is_built_again(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    (lake.folder / find_index(lake.connection, "drums")["uri"]).unlink()
    assert refresh_indexes(lake)[0]["built"]
    assert open_index(lake.connection, lake.folder, "drums").vectors == 10


def test_an_index_older_than_the_patterns_says_what_to_do(lake):
    add_patterns(lake, draw_vectors(10))
    refresh_indexes(lake)
    add_patterns(lake, draw_vectors(1, seed=1), name="b")
    with pytest.raises(StaleIndex, match="midime nightly"):
        open_index(lake.connection, lake.folder, "drums")
