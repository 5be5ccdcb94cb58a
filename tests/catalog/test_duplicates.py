from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pytest

from catalog.duplicates import EQUAL_METHOD, METHOD, find_duplicates_of, find_matches, refresh_matches
from catalog.lake import Transaction
from catalog.matching.alignment import Fingerprint, align_fingerprints
from catalog.matching.evidence import DuplicateParams
from catalog.songs import Verdict
from catalog.tables import FINGERPRINTS, MATCHES, SONG_GROUPS, TRACKS, make_id

HOP_S = 1365 / 11_025
START = datetime(2026, 1, 1, tzinfo=UTC)


def play(seed, count=480):
    """The items of a recording, uint32 (count,): from one item to the next a few bits change, as in music."""
    rng = np.random.default_rng(seed)
    flips = (rng.random((count, 32)) < 0.15) @ (1 << np.arange(32, dtype=np.uint64))
    return np.bitwise_xor.accumulate(flips.astype(np.uint32) ^ (rng.integers(0, 2**32) if count else 0))


def copy(items, bit_error=0.05, seed=0):
    """A lossy copy: bits differ at random."""
    rng = np.random.default_rng(seed)
    return items ^ ((rng.random((len(items), 32)) < bit_error) @ (1 << np.arange(32, dtype=np.uint64))).astype(
        np.uint32
    )


@pytest.fixture
def tables():
    """The tables that matching reads, in memory: much faster than a lake."""
    with duckdb.connect() as connection:
        for table in (TRACKS, FINGERPRINTS, MATCHES, SONG_GROUPS):
            connection.execute(table.create_sql()[0])
        yield connection


def add_tracks(change, recordings):
    """Tracks in the order of their upload; their identifiers by name."""
    ids = {name: make_id("track", name) for name in recordings}
    base = {"corpus": "c", "algorithm": "chromaprint-test2", "hop_s": HOP_S}
    tracks = [
        {"corpus": "c", "track_id": ids[name], "upload_date": START + timedelta(seconds=place)}
        for place, name in enumerate(recordings)
    ]
    change.insert("tracks", TRACKS.make_rows(tracks))
    rows = [base | {"track_id": ids[name], "items": items.tolist()} for name, items in recordings.items()]
    change.insert("fingerprints", FINGERPRINTS.make_rows(rows))
    return ids


def find_by_name(tables, recordings):
    names = {track: name for name, track in add_tracks(Transaction(tables), recordings).items()}
    return {frozenset((names[match.track_id_1], names[match.track_id_2])): match for match in find_matches(tables)}


def test_the_stretch_that_two_fingerprints_share_is_found():
    first, second = play(1), play(2)
    second[100:300] = copy(first[50:250])
    found = align_fingerprints(Fingerprint.from_items(first, HOP_S), Fingerprint.from_items(second, HOP_S), -50)
    assert found.items == pytest.approx(200, abs=4)
    assert found.score == pytest.approx(0.95, abs=0.02)


def test_fingerprints_that_do_not_meet_share_nothing():
    first = Fingerprint.from_items(play(1), HOP_S)
    assert align_fingerprints(first, first, 480).items == 0


def test_copies_are_matched_and_others_are_not(tables):
    original = play(1)
    found = find_by_name(tables, {"original": original, "copy": copy(original), "other": play(2)})
    (match,) = found.values()
    assert set(found) == {frozenset({"original", "copy"})}
    assert (match.method, match.speed_ratio) == (METHOD, 1.0)
    assert match.track_id_1 < match.track_id_2
    assert match.score == pytest.approx(0.95, abs=0.02)
    assert match.overlap_s == pytest.approx(480 * HOP_S + 2.5, abs=0.5)


def test_applause_is_not_matched_with_other_applause(tables):
    def clap(seed, count=480):  # most bits have one value nearly always
        rng = np.random.default_rng(seed)
        flips = (rng.random((count, 32)) < 0.1) @ (1 << np.arange(32, dtype=np.uint64))
        return np.uint32(0xA5A5_A5A5) ^ flips.astype(np.uint32)

    first = clap(1)
    found = find_by_name(tables, {"applause": first, "other": clap(2), "copy": copy(first, 0.02)})
    assert set(found) == {frozenset({"applause", "copy"})}


def test_an_offset_says_where_the_second_track_starts_in_the_first(tables):
    original = play(1)
    (match,) = find_by_name(tables, {"original": original, "late": copy(original[100:])}).values()
    late_is_second = match.track_id_2 == make_id("track", "late")
    assert match.offset_s == pytest.approx((1 if late_is_second else -1) * 100 * HOP_S)


def test_fifteen_seconds_of_a_known_song_are_found(tables):
    original = play(1, 2000)
    assert find_by_name(tables, {"song": original, "clip": copy(original[900:1000], 0.1)})


def test_equal_fingerprints_are_matched_with_the_first(tables):
    original = play(1)
    ids = add_tracks(Transaction(tables), {name: original for name in "abc"})
    matches = find_matches(tables)
    pairs = {frozenset((match.track_id_1, match.track_id_2)) for match in matches}
    assert pairs == {frozenset({ids["a"], ids["b"]}), frozenset({ids["a"], ids["c"]})}
    assert {(match.method, match.score) for match in matches} == {(EQUAL_METHOD, 1.0)}


def test_silence_and_steady_tones_match_nothing(tables):
    silence, tone = np.full(480, 627964279, np.uint32), np.tile(np.repeat(np.uint32([5, 9]), 50), 5)
    assert not find_by_name(
        tables, {"silence": silence, "more": silence, "tone": tone, "another": tone, "none": play(1, 0)}
    )


def test_songs_that_begin_with_the_same_silence_stay_apart(tables):
    silence = np.full(200, 627964279, np.uint32)
    assert not find_by_name(tables, {name: np.concatenate([silence, play(seed)]) for seed, name in enumerate("ab")})


def test_items_that_everybody_has_propose_nothing(tables):
    common = play(9, 40)
    recordings = {str(seed): np.concatenate([play(seed), common]) for seed in range(6)}
    add_tracks(Transaction(tables), recordings)
    assert find_matches(tables)
    assert not find_matches(tables, DuplicateParams(common_places=5))


def test_fingerprints_of_another_algorithm_are_not_compared(tables):
    ids = add_tracks(Transaction(tables), {"a": play(1), "b": copy(play(1))})
    tables.execute("UPDATE fingerprints SET algorithm = 'other' WHERE track_id = ?", [ids["a"]])
    assert not find_matches(tables)


def test_a_query_finds_its_song(tables):
    original = play(1)
    ids = add_tracks(Transaction(tables), {"first": original, "second": copy(original), "other": play(2)})
    verdicts = [asdict(Verdict(ids[name], ids["first"], "same")) for name in ("first", "second")]
    Transaction(tables).insert("song_groups", SONG_GROUPS.make_rows(verdicts))
    found = find_duplicates_of(tables, copy(original[200:320], seed=1), HOP_S)
    assert {song.track_id for song in found} == {ids["first"], ids["second"]}
    assert {song.source_song_id for song in found} == {ids["first"]}
    assert {song.relation for song in found} == {"excerpt"}
    assert [song.offset_s for song in found] == pytest.approx([200 * HOP_S] * 2)


def test_a_query_names_the_track_before_the_first_grouping(tables):
    ids = add_tracks(Transaction(tables), {"only": play(1)})
    (song,) = find_duplicates_of(tables, play(1), HOP_S)
    assert (song.source_song_id, song.relation) == (ids["only"], "same")


@pytest.mark.parametrize("items", [[], [7] * 400, play(5), play(5, 8)], ids=["none", "tone", "unknown", "one second"])
def test_a_query_of_nothing_known_finds_nothing(tables, items):
    add_tracks(Transaction(tables), {"only": play(1), "silent": np.full(480, 7, np.uint32)})
    assert find_duplicates_of(tables, items, HOP_S) == []


def test_an_unchanged_lake_is_not_written(lake):
    with lake.transaction("test") as change:
        ids = add_tracks(change, {"a": play(1), "b": copy(play(1))})
    assert refresh_matches(lake) == {"matches": 1, "changed": 1, "tracks": 2}
    snapshot = lake.snapshot
    assert refresh_matches(lake) == {"matches": 1, "changed": 0, "tracks": 0}
    assert lake.snapshot == snapshot
    with lake.transaction("test") as change:
        change.delete("fingerprints", "track_id", [ids["a"]])
    assert refresh_matches(lake) == {"matches": 0, "changed": 1, "tracks": 0}
    assert len(lake.query("FROM matches")) == 0
