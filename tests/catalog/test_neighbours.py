import numpy as np
import pytest

from catalog.index import IndexParams, refresh_indexes
from catalog.neighbours import NeighbourParams, find_neighbours
from catalog.tables import PATTERNS, SONG_GROUPS, TRACKS, make_id
from catalog.vectors import DIMENSIONS
from tests.grooves import compare, draw_vectors, make_index

PARAMS = IndexParams(neighbours=NeighbourParams(count=3, least=0.5, incremental_share=0.6))


def draw_takes(count, seed=0):
    """Vectors around one groove, of any length."""
    rng = np.random.default_rng(seed)
    groove = rng.random(DIMENSIONS) < 0.3
    return groove + 0.8 * rng.random((count, DIMENSIONS)) * rng.random((count, 1))


def put_patterns(lake, numbers, seed=0, privacy="public"):
    """Write these patterns, instead of earlier ones of the same numbers."""
    vectors = draw_takes(100, seed)
    tracks = [{"corpus": "c", "track_id": make_id("track", n), "privacy_setting": privacy} for n in numbers]
    patterns = [
        {"corpus": "c", "track_id": make_id("track", n), "pattern_id": make_id("pattern", n)}
        | {"instrument_type": "drums", "fingerprint": vectors[n].tolist()}
        for n in numbers
    ]
    with lake.transaction("test") as change:
        change.upsert("tracks", TRACKS.make_rows(tracks))
        change.upsert("patterns", PATTERNS.make_rows(patterns))


def remove_patterns(lake, numbers):
    with lake.transaction("test") as change:
        change.delete("patterns", "pattern_id", [make_id("pattern", number) for number in numbers])


def read_pairs(lake):
    rows = lake.query("SELECT pattern_id_1::VARCHAR, pattern_id_2::VARCHAR, similarity_score FROM pattern_similarities")
    return {(one, two): score for one, two, score in zip(*(column.to_pylist() for column in rows.columns), strict=True)}


def compute_anew(lake):
    """The pairs without the help of the night before."""
    with lake.transaction("forget") as change:
        change.clear("index_versions")
        change.clear("pattern_similarities")
    (summary,) = refresh_indexes(lake, PARAMS)
    assert summary["outcome"] == "built"
    return read_pairs(lake)


def test_neighbours_are_written_in_both_directions(lake):
    put_patterns(lake, range(20))
    refresh_indexes(lake, PARAMS)
    pairs = read_pairs(lake)
    assert pairs and all(pairs[two, one] == score for (one, two), score in pairs.items())
    rows = lake.query("SELECT columns('_id')::VARCHAR FROM pattern_similarities").to_pylist()
    for row in rows:
        assert row["similarity_id"] == make_id("similarity", row["pattern_id_1"], row["pattern_id_2"])


def test_every_pattern_has_as_many_neighbours_as_are_wanted(lake):
    put_patterns(lake, range(20))
    refresh_indexes(lake, PARAMS)
    firsts = [one for one, _ in read_pairs(lake)]
    assert min(firsts.count(make_id("pattern", number)) for number in range(20)) == 3


def test_sections_of_one_song_are_no_neighbours(lake):
    put_patterns(lake, range(6))
    groups = [
        {"track_id": make_id("track", number), "source_song_id": make_id("track", 0), "relation": "same"}
        for number in range(3)
    ]
    with lake.transaction("test") as change:
        change.insert("song_groups", SONG_GROUPS.make_rows(groups))
    refresh_indexes(lake, PARAMS)
    copies = {make_id("pattern", number) for number in range(3)}
    assert not [pair for pair in read_pairs(lake) if set(pair) <= copies]


@pytest.mark.parametrize(
    "change",
    [
        lambda lake: put_patterns(lake, range(30, 40)),  # added
        lambda lake: remove_patterns(lake, range(5)),  # gone
        lambda lake: put_patterns(lake, range(4), seed=1),  # changed
        lambda lake: put_patterns(lake, range(2, 6), privacy="private"),  # hidden
    ],
)
def test_a_night_of_few_changes_gives_what_a_full_build_gives(lake, change):
    put_patterns(lake, range(30))
    refresh_indexes(lake, PARAMS)
    before = read_pairs(lake)
    change(lake)
    (summary,) = refresh_indexes(lake, PARAMS)
    updated = read_pairs(lake)
    assert summary["outcome"] == "updated"
    assert updated != before
    assert updated == pytest.approx(compute_anew(lake), abs=1e-6)


def test_many_changes_are_a_full_build(lake):
    put_patterns(lake, range(10))
    refresh_indexes(lake, PARAMS)
    put_patterns(lake, range(10, 60))
    assert refresh_indexes(lake, PARAMS)[0]["outcome"] == "built"


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
