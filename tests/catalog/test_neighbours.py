import numpy as np
import pytest

from catalog.index import IndexParams, refresh_indexes
from catalog.neighbours import NeighbourParams
from catalog.tables import PATTERNS, SONG_GROUPS, TRACKS, make_id
from catalog.vectors import DIMENSIONS

PARAMS = IndexParams(neighbours=NeighbourParams(count=3, least=0.5, incremental_share=0.6))


def draw_vectors(count, seed=0):
    rng = np.random.default_rng(seed)
    groove = rng.random(DIMENSIONS) < 0.3
    return groove + 0.8 * rng.random((count, DIMENSIONS)) * rng.random((count, 1))


def put_patterns(lake, numbers, seed=0, privacy="public"):
    """Write these patterns, instead of earlier ones of the same numbers."""
    vectors = draw_vectors(100, seed)
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
