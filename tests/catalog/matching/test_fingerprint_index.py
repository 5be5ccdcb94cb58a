import shutil

import numpy as np
import pytest

from catalog.duplicates import find_duplicates_of, find_matches, refresh_matches
from catalog.matching.alignment import CHROMAPRINT
from catalog.matching.fingerprint_index import FOLDER, FingerprintIndex, Part, open_store
from catalog.matching.segments import Entry, Segment
from catalog.purge import purge_tracks
from catalog.tables import FINGERPRINTS, TRACKS, make_id

HOP_S = CHROMAPRINT.hop_s


def play(seed, count=300):
    """The items of a recording, uint32 (count,): from one item to the next a few bits change, as in music."""
    rng = np.random.default_rng(seed)
    flips = (rng.random((count, 32)) < 0.15) @ (1 << np.arange(32, dtype=np.uint64))
    return np.bitwise_xor.accumulate(flips.astype(np.uint32) ^ rng.integers(0, 2**32, dtype=np.uint32))


def copy(items, seed):
    flips = (np.random.default_rng(seed).random((len(items), 32)) < 0.05) @ (1 << np.arange(32, dtype=np.uint64))
    return items ^ flips.astype(np.uint32)


def add_tracks(lake, recordings):
    base = {"corpus": "c", "algorithm": CHROMAPRINT.algorithm, "hop_s": HOP_S}
    ids = {name: make_id("track", name) for name in recordings}
    with lake.transaction("test") as change:
        change.delete("fingerprints", "track_id", ids.values())
        change.delete("tracks", "track_id", ids.values())
        change.insert("tracks", TRACKS.make_rows([{"corpus": "c", "track_id": track} for track in ids.values()]))
        rows = [base | {"track_id": ids[name], "items": items.tolist()} for name, items in recordings.items()]
        change.insert("fingerprints", FINGERPRINTS.make_rows(rows))
    return ids


def read_matches(lake):
    columns = "track_id_1, track_id_2, method, score, overlap_s, offset_s"
    return sorted(map(tuple, lake.query(f"SELECT {columns} FROM matches").to_pandas().to_numpy().tolist()))


def find_all(lake):
    names = ("track_id_1", "track_id_2", "method", "score", "overlap_s", "offset_s")
    found = [tuple(getattr(match, name) for name in names) for match in find_matches(lake.connection)]
    return sorted((*row[:3], float(np.float32(row[3])), *row[4:]) for row in found)


def make_entries(count, first=0):
    return [Entry.of(row, make_id("track", row), play(row)) for row in range(first, first + count)]


def assert_same_segment(found, expected):
    assert found.track_ids.tobytes() == expected.track_ids.tobytes()
    np.testing.assert_array_equal(found.items, expected.items)
    for start in range(0, 1 << 28, 1 << 24):
        for one, other in zip(
            found.read_keys(start, start + (1 << 24)), expected.read_keys(start, start + (1 << 24)), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_merged_segments_equal_one_made_at_once(tmp_path):
    store = open_store(tmp_path, CHROMAPRINT)
    for first in range(0, 16, 2):
        store.add(Segment.build(make_entries(2, first), CHROMAPRINT.make_keys))
    assert len(store.parts) < 5
    store._merge(0)
    assert_same_segment(store.parts[0].segment, Segment.build(make_entries(16), CHROMAPRINT.make_keys))


def test_a_segment_without_items_can_be_kept(tmp_path):
    store = open_store(tmp_path, CHROMAPRINT)
    store.add(Segment.build([Entry.of(0, make_id("track", 0), play(0, 0))], CHROMAPRINT.make_keys))
    store.publish()
    assert open_store(tmp_path, CHROMAPRINT).index.read_rows().tolist() == [0]


def test_every_key_is_found_at_its_places():
    entries = make_entries(3)
    segment = Segment.build(entries, CHROMAPRINT.make_keys)
    keys, places = CHROMAPRINT.make_keys(entries[1].items)
    first, last = segment.find(keys)
    for begin, end, place in zip(first, last, places, strict=True):
        assert place + 300 in segment.places[begin:end]


def test_of_each_stretch_the_rarest_keys_are_looked_up():
    common, rare = np.full(40, 7, np.uint32), np.arange(100, 104, dtype=np.uint32)
    entries = [Entry.of(0, make_id("track", 0), np.concatenate([common, rare]))]
    segment = Segment.build(entries, lambda items: (items, np.arange(len(items))))
    index, keys = FingerprintIndex([Part.whole(segment)]), np.concatenate([[7], rare, [7]]).astype(np.uint32)
    stretches = np.array([0, 0, 0, 0, 0, 1])

    def look_up(most, most_on_average):
        return sorted(index.look_up(keys, most, stretches, most_on_average).key.tolist())

    assert look_up(1_000, 2.0) == [1, 2, 3, 4]
    assert look_up(1_000, 8.8) == [0] * 40 + [1, 2, 3, 4]  # 44 places of five keys
    assert look_up(1_000, 40.0) == [0] * 40 + [1, 2, 3, 4] + [5] * 40
    assert look_up(39, 40.0) == [1, 2, 3, 4]
    assert look_up(1_000, 0.0) == []


def test_night_by_night_finds_what_one_night_finds(lake):
    song, other = play(1), play(2)
    add_tracks(lake, {"song": song, "other": other, "clip": copy(song[50:200], 1)})
    refresh_matches(lake)
    add_tracks(lake, {"again": song, "late": copy(other, 2), "new": play(3)})
    assert refresh_matches(lake)["tracks"] == 3
    add_tracks(lake, {"song": copy(song, 3)})  # the file of the track was analysed again, with another result
    add_tracks(lake, {"third": copy(song, 4), "fourth": copy(other[100:], 5), "twin": song})
    refresh_matches(lake)
    assert read_matches(lake) == find_all(lake)
    assert len(read_matches(lake)) > 8


def test_a_purged_track_leaves_no_item_in_the_index(lake):
    ids = add_tracks(lake, {"gone": play(1), "twin": play(1), "copy": copy(play(1), 1), "other": play(2)})
    refresh_matches(lake)
    purge_tracks(lake, [ids["gone"]], grace_s=0)
    files = [path.read_bytes() for path in (lake.folder / FOLDER).rglob("*.npy")]
    assert files
    assert not any(play(1)[:8].tobytes() in data for data in files)
    refresh_matches(lake)
    assert read_matches(lake) == find_all(lake)
    assert len(read_matches(lake)) == 1  # the twin has taken its place


def test_a_query_sees_tracks_that_no_index_holds_yet(lake):
    add_tracks(lake, {"old": play(1)})
    refresh_matches(lake)
    ids = add_tracks(lake, {"new": play(2)})
    (song,) = find_duplicates_of(lake.connection, copy(play(2)[50:200], 1), HOP_S, lake.folder)
    assert song.track_id == ids["new"]


def test_a_query_does_not_see_tracks_that_are_gone(lake):
    ids = add_tracks(lake, {"old": play(1), "other": play(2)})
    refresh_matches(lake)
    with lake.transaction("test") as change:
        change.delete("fingerprints", "track_id", [ids["old"]])
    assert find_duplicates_of(lake.connection, play(1), HOP_S, lake.folder) == []


def test_a_query_finds_every_track_with_the_same_fingerprint(lake):
    ids = add_tracks(lake, {name: play(1) for name in "abc"})
    refresh_matches(lake)
    found = find_duplicates_of(lake.connection, play(1)[50:200], HOP_S, lake.folder)
    assert {song.track_id for song in found} == set(ids.values())


@pytest.mark.parametrize("damage", ["lost", "cut off", "no JSON"])
def test_a_broken_index_is_made_again(lake, damage):
    add_tracks(lake, {"song": play(1), "copy": copy(play(1), 1)})
    refresh_matches(lake)
    expected = read_matches(lake)
    if damage == "lost":
        shutil.rmtree(lake.folder / FOLDER)
    elif damage == "no JSON":
        next((lake.folder / FOLDER / CHROMAPRINT.name).rglob("manifest.json")).write_text("{")
    else:
        path = next((lake.folder / FOLDER / CHROMAPRINT.name).rglob("items.npy"))
        path.write_bytes(path.read_bytes()[:200])
    assert refresh_matches(lake)["tracks"] == 2
    assert read_matches(lake) == expected


def test_verify_names_a_segment_that_has_changed(lake):
    add_tracks(lake, {"song": play(1)})
    refresh_matches(lake)
    assert lake.verify() == []
    path = next((lake.folder / FOLDER / CHROMAPRINT.name).rglob("items.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (problem,) = lake.verify()
    assert "has changed since it was written" in problem


def test_fingerprints_with_another_hop_are_left_out(lake):
    ids = add_tracks(lake, {"a": play(1), "b": copy(play(1), 1)})
    lake.connection.execute("UPDATE fingerprints SET hop_s = 0.2 WHERE track_id = ?", [ids["a"]])
    refresh_matches(lake)
    assert read_matches(lake) == []
