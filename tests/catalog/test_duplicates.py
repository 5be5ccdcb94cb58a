from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pytest

from catalog.duplicates import (
    EQUAL_METHOD,
    METHOD,
    DuplicateParams,
    Fingerprint,
    GroupTrack,
    Match,
    Verdict,
    align_fingerprints,
    find_duplicates_of,
    find_matches,
    group_songs,
    refresh_matches,
    refresh_song_groups,
)
from catalog.lake import Transaction
from catalog.tables import FINGERPRINTS, SONG_GROUPS, TRACKS, make_id

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
        for table in (TRACKS, FINGERPRINTS, SONG_GROUPS):
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


def add_to_lake(lake, recordings):
    with lake.transaction("test") as change:
        return add_tracks(change, recordings)


def read_groups(lake):
    rows = lake.query("SELECT track_id, source_song_id, relation FROM song_groups").to_pylist()
    return {row["track_id"]: (row["source_song_id"], row["relation"]) for row in rows}


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
    ids = sorted(add_tracks(Transaction(tables), {name: original for name in "abc"}).values())
    matches = find_matches(tables)
    assert [(match.track_id_1, match.track_id_2) for match in matches] == [(ids[0], ids[1]), (ids[0], ids[2])]
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
    assert not find_matches(tables, DuplicateParams(common_tracks=5))


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


def group(lengths, edges):
    """Verdicts by name: `lengths` in the order of the uploads, `edges` as (name, name, overlap_s[, method])."""
    tracks = [
        GroupTrack(name, length, START + timedelta(seconds=place)) for place, (name, length) in enumerate(lengths)
    ]
    matches = [
        Match(*sorted((first, second)), (*method, METHOD)[0], "1", 0.95, overlap, 0.0)
        for first, second, overlap, *method in edges
    ]
    return {verdict.track_id: (verdict.source_song_id, verdict.relation) for verdict in group_songs(tracks, matches)}


def test_a_track_alone_is_its_own_song():
    assert group([("a", 60)], []) == {"a": ("a", "unique")}


def test_copies_are_one_song_named_after_the_first_upload():
    assert group([("z", 60), ("a", 61)], [("a", "z", 59)]) == {"z": ("z", "same"), "a": ("z", "same")}


def test_a_song_keeps_its_name_when_copies_are_added():
    before = group([("m", 60), ("z", 60)], [("m", "z", 60)])
    after = group([("m", 60), ("z", 60), ("a", 60)], [("m", "z", 60), ("a", "m", 60), ("a", "z", 60)])
    assert before["m"][0] == after["m"][0] == after["a"][0] == "m"


def test_a_chain_of_matches_is_not_one_song():
    lengths = [(name, 60) for name in "abcd"]
    groups = group(lengths, [("a", "b", 60), ("b", "c", 60), ("c", "d", 60)])
    assert groups["a"][0] != groups["d"][0]


def test_two_excerpts_of_a_song_meet_in_it():
    groups = group([("e", 15), ("song", 200), ("f", 15)], [("e", "song", 15), ("f", "song", 15)])
    assert groups == {"e": ("e", "excerpt"), "song": ("e", "same"), "f": ("e", "excerpt")}


def test_a_jingle_in_two_songs_does_not_make_them_one():
    groups = group([("one", 200), ("two", 180), ("jingle", 10)], [("jingle", "one", 10), ("jingle", "two", 10)])
    assert groups["one"][0] != groups["two"][0]


def test_a_medley_joins_none_of_its_songs():
    groups = group([("one", 60), ("two", 60), ("medley", 40)], [("medley", "one", 20), ("medley", "two", 20)])
    assert {relation for _, relation in groups.values()} == {"unique"}


def test_songs_in_a_long_mix_stay_apart():
    groups = group([("one", 200), ("two", 200), ("mix", 3600)], [("one", "mix", 200), ("mix", "two", 200)])
    assert {relation for _, relation in groups.values()} == {"unique"}


def test_an_excerpt_of_an_excerpt_belongs_to_the_whole():
    groups = group([("whole", 200), ("half", 100), ("bit", 15)], [("half", "whole", 100), ("bit", "half", 15)])
    assert groups["bit"] == ("whole", "excerpt")


def test_copies_of_equal_fingerprints_share_their_matches():
    lengths = [("a", 60), ("b", 60), ("c", 60)]
    groups = group(lengths, [("a", "b", 60, EQUAL_METHOD), ("a", "c", 60)])
    assert {song for song, _ in groups.values()} == {"a"}


def test_weak_evidence_joins_nothing():
    track = [GroupTrack(name, 60.0, START) for name in "ab"]
    verdicts = group_songs(track, [Match("a", "b", METHOD, "1", 0.6, 60.0, 0.0)])
    assert [verdict.relation for verdict in verdicts] == ["unique", "unique"]


def test_the_order_of_the_evidence_does_not_matter():
    lengths = [(name, 60) for name in "abcde"]
    edges = [("a", "b", 60), ("b", "c", 60), ("c", "d", 60), ("d", "e", 60)]
    assert group(lengths, edges) == group(lengths, edges[::-1])


def test_every_track_gets_a_verdict(lake):
    original = play(1)
    ids = add_to_lake(lake, {"a": original, "b": copy(original), "c": play(2), "silent": np.zeros(100, np.uint32)})
    refresh_matches(lake)
    counts = refresh_song_groups(lake, make_id("run", 1))
    assert counts == {"songs": 3, "same": 2, "excerpt": 0, "unique": 2, "changed": 4}
    assert read_groups(lake)[ids["b"]] == (ids["a"], "same")
    assert read_groups(lake)[ids["silent"]] == (ids["silent"], "unique")


def test_an_unchanged_lake_is_not_written(lake):
    add_to_lake(lake, {"a": play(1), "b": copy(play(1))})
    refresh_matches(lake)
    refresh_song_groups(lake, make_id("run", 1))
    snapshot = lake.snapshot
    assert refresh_matches(lake)["changed"] == refresh_song_groups(lake, make_id("run", 2))["changed"] == 0
    assert lake.snapshot == snapshot


def test_a_verdict_that_stands_keeps_its_row(lake):
    add_to_lake(lake, {"a": play(1)})
    refresh_song_groups(lake, make_id("run", 1))
    add_to_lake(lake, {"b": play(2)})
    assert refresh_song_groups(lake, make_id("run", 2))["changed"] == 1
    rows = lake.query("SELECT track_id, run_id FROM song_groups").to_pylist()
    assert {row["track_id"]: row["run_id"] for row in rows} == {
        make_id("track", name): make_id("run", run) for name, run in (("a", 1), ("b", 2))
    }


def test_evidence_and_verdicts_of_a_track_go_with_it(lake):
    ids = add_to_lake(lake, {"a": play(1), "b": copy(play(1))})
    refresh_matches(lake)
    refresh_song_groups(lake, None)
    with lake.transaction("test") as change:
        for table in ("tracks", "fingerprints"):
            change.delete(table, "track_id", [ids["a"]])
    refresh_matches(lake)
    refresh_song_groups(lake, None)
    assert len(lake.query("FROM matches")) == 0
    assert read_groups(lake) == {ids["b"]: (ids["b"], "unique")}
