import os
import time

import numpy as np
import pyarrow as pa
import pytest

from catalog.errors import MissingIndex, StaleIndex
from catalog.filters import TEXTS
from catalog.index import (
    GrooveIndex,
    IndexParams,
    LowRecall,
    build_proposer,
    choose_kind,
    find_index,
    is_fresh,
    open_index,
    refresh_indexes,
    tune_recall,
)
from catalog.lake import connect
from catalog.neighbours import NeighbourParams, find_neighbours
from catalog.tables import PATTERNS, REJECTS, TRACKS, make_id
from catalog.vectors import DIMENSIONS, SHIFTS, shift_beats

SMALL = IndexParams(flat_below=50, codes="PQ48x4fsr")


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


def make_index(vectors, kind="Flat", tracks=None, public=None):
    """An index in memory; its rows are in the order of the vectors."""
    count = len(vectors)
    rows = pa.table(
        {
            "pattern_id": sorted(make_id("pattern", number) for number in range(count)),
            "content": np.arange(count, dtype=np.uint64),
            "tempo_bpm": np.full(count, 120.0),
            "source_song_id": [str(track) for track in (range(count) if tracks is None else tracks)],
            **{name: ["x"] * count for name in TEXTS if name not in ("source_song_id", "privacy_setting")},
            "privacy_setting": ["public" if public is None or public[number] else "private" for number in range(count)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS),
        }
    )
    return GrooveIndex(rows, "drums", build_proposer(vectors, kind))


def compare(first, second):
    """The similarities of all pairs, by the definition."""
    return np.max([turned @ second.T for turned in shift_beats(first).transpose(1, 0, 2)], axis=0)


def test_the_kind_follows_the_number_of_vectors():
    assert choose_kind(19_999) == "Flat"
    assert choose_kind(20_000) == "IVF512,PQ48x4fsr"
    assert choose_kind(1_000_000) == "IVF4096,PQ48x4fsr"


def test_a_groove_is_the_same_from_any_half_of_a_beat():
    vectors = draw_vectors(5)
    index = make_index(vectors)
    for halves in range(SHIFTS):
        scores, found = index.find_nearest(shift_beats(vectors)[:, halves], 1)
        np.testing.assert_array_equal(found[:, 0], np.arange(5))
        np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)


def test_similarity_is_symmetric():
    vectors = draw_vectors(30)
    np.testing.assert_allclose(compare(vectors, vectors), compare(vectors, vectors).T, atol=1e-6)


@pytest.mark.parametrize("kind", ["Flat", "IVF16,PQ48x4fsr"])
def test_every_kind_finds_the_nearest(kind):
    vectors = draw_vectors(2000, families=40)
    index = make_index(vectors, kind)
    assert tune_recall(index, IndexParams(sample=50)) > 0.98
    scores, found = index.find_nearest(vectors[:20], 5)
    truth = np.sort(compare(vectors[:20], vectors), axis=1)[:, :-6:-1]
    assert (scores >= truth - 1e-5).mean() > 0.95
    np.testing.assert_allclose(scores, np.take_along_axis(compare(vectors[:20], vectors), found, axis=1), atol=1e-5)


def test_lists_that_find_no_more_are_not_searched(monkeypatch):
    """Where the codes propose too few, searching everything would take longer and find as little."""
    monkeypatch.setattr("catalog.index.PROPOSED_A_RESULT", 1)
    vectors = draw_vectors(4000, families=4)
    index = make_index(vectors, "IVF256,PQ48x4fsr")
    tune_recall(index, IndexParams(sample=50))
    assert index.proposer.nprobe < index.proposer.nlist / 2


def test_the_shifts_that_lie_nearest_search_the_most_lists(monkeypatch):
    vectors = draw_vectors(4000, families=40)
    index, shares = make_index(vectors, "IVF128,PQ48x4fsr"), []
    index.proposer.nprobe = 1
    truth = np.sort(compare(vectors[:100], vectors), axis=1)[:, -20:]
    for most in (1, 4):
        monkeypatch.setattr("catalog.index.MOST_LISTS", most)
        scores, _ = index.find_nearest(vectors[:100], 20)
        shares.append((scores >= truth[:, :1] - 1e-5).mean())
    assert shares[1] > shares[0] + 0.05


@pytest.mark.parametrize("kind", ["Flat", "IVF4,PQ48x4fsr"])
def test_a_search_can_be_kept_to_some_rows(kind):
    vectors = draw_vectors(400)
    allowed = np.arange(400) % 10 == 3
    _, found = make_index(vectors, kind).find_nearest(vectors[:3], 60, allowed)
    for row in found:
        assert set(row[:40]) == set(np.flatnonzero(allowed))
        assert set(row[40:]) == {-1}


def test_an_empty_index_finds_nothing():
    scores, found = make_index(draw_vectors(3)[:0]).find_nearest(draw_vectors(1), 2)
    assert found.tolist() == [[-1, -1]]
    assert not np.isfinite(scores).any()


def test_the_same_vectors_give_the_same_index():
    import faiss

    vectors = draw_vectors(700)
    first, second = (faiss.serialize_index(build_proposer(vectors, "IVF8,PQ48x4fsr")) for _ in range(2))
    assert (first == second).all()


def test_an_index_that_misses_neighbours_is_not_published(lake, monkeypatch):
    add_patterns(lake, draw_vectors(60))
    (old,) = refresh_indexes(lake)
    add_patterns(lake, draw_vectors(60, seed=1), name="b")
    monkeypatch.setattr("catalog.index.tune_recall", lambda index, params: 0.5)
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


def neighbours_of(vectors, songs, public=None, params=NeighbourParams()):
    """The neighbours of each pattern with their scores, by their places among the vectors."""
    found = {}
    for batch in find_neighbours(make_index(vectors, tracks=songs, public=public), np.arange(len(vectors)), params):
        for row in batch.to_pylist():
            found.setdefault(row["first"], {})[row["second"]] = row["score"]
    return found


def test_neighbours_are_the_nearest_of_other_songs():
    vectors, tracks = draw_vectors(40), np.arange(40) // 4
    scores = np.where(tracks[:, None] == tracks, -1, compare(vectors, vectors))
    found = neighbours_of(vectors, tracks, params=NeighbourParams(count=5))
    for number, row in enumerate(scores):
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
