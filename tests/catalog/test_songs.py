from datetime import UTC, datetime, timedelta

from catalog.duplicates import EQUAL_METHOD, METHOD
from catalog.matching.evidence import Match
from catalog.songs import GroupTrack, group_songs, refresh_song_groups
from catalog.tables import FINGERPRINTS, MATCHES, TRACKS, make_id

START = datetime(2026, 1, 1, tzinfo=UTC)


def group(lengths, edges):
    """Verdicts by name: `lengths` in the order of the uploads, `edges` as (name, name, overlap_s[, method])."""
    tracks = [GroupTrack(name, START + timedelta(seconds=place)) for place, (name, _) in enumerate(lengths)]
    matches = [match(dict(lengths), *edge) for edge in edges]
    return {verdict.track_id: (verdict.source_song_id, verdict.relation) for verdict in group_songs(tracks, matches)}


def match(lengths, first, second, overlap_s, method=METHOD, score=0.95):
    """Evidence for two tracks, with their lengths by name."""
    sounding_s = (lengths[first], lengths[second])
    evidence = {"method_version": "1", "overlap_s": overlap_s, "offset_s": 0.0}
    return Match.between((first, second), sounding_s, method=method, score=score, **evidence)


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
    groups = group([("a", 60), ("b", 60)], [("a", "b", 60, METHOD, 0.6)])
    assert {relation for _, relation in groups.values()} == {"unique"}


def test_the_order_of_the_evidence_does_not_matter():
    lengths = [(name, 60) for name in "abcde"]
    edges = [("a", "b", 60), ("b", "c", 60), ("c", "d", 60), ("d", "e", 60)]
    assert group(lengths, edges) == group(lengths, edges[::-1])


def add_tracks(lake, *names, matches=()):
    """Tracks of a minute, with matches over their whole length."""
    base = {"corpus": "c", "algorithm": "chromaprint", "hop_s": 0.124, "items": list(range(480))}
    with lake.transaction("test") as change:
        rows = [{"corpus": "c", "track_id": make_id("track", name), "upload_date": START} for name in names]
        change.insert("tracks", TRACKS.make_rows(rows))
        rows = [base | {"track_id": make_id("track", name)} for name in names]
        change.insert("fingerprints", FINGERPRINTS.make_rows(rows))
        rows = [
            {"track_id_1": make_id("track", first), "track_id_2": make_id("track", second)}
            | {
                "method": METHOD,
                "method_version": "1",
                "score": 0.95,
                "overlap_s": 60.0,
                "offset_s": 0.0,
                "speed_ratio": 1.0,
                "pitch_semitones": 0.0,
            }
            | {"sounding_1_s": 60.0, "sounding_2_s": 60.0}
            for first, second in matches
        ]
        change.insert("matches", MATCHES.make_rows(rows))


def read_groups(lake):
    """Relation and run by track."""
    rows = lake.query("SELECT track_id, relation, run_id FROM song_groups").to_pylist()
    return {row["track_id"]: (row["relation"], row["run_id"]) for row in rows}


def test_every_track_gets_a_verdict(lake):
    add_tracks(lake, "a", "b", "c", matches=[("a", "b")])
    counts = refresh_song_groups(lake, make_id("run", 1))
    assert counts == {"songs": 2, "same": 2, "excerpt": 0, "transformed": 0, "version": 0, "unique": 1, "changed": 3}
    assert [read_groups(lake)[make_id("track", name)][0] for name in "abc"] == ["same", "same", "unique"]


def test_a_verdict_that_stands_keeps_its_row(lake):
    add_tracks(lake, "a")
    refresh_song_groups(lake, make_id("run", 1))
    snapshot = lake.snapshot
    assert refresh_song_groups(lake, make_id("run", 2))["changed"] == 0
    assert lake.snapshot == snapshot
    add_tracks(lake, "b")
    assert refresh_song_groups(lake, make_id("run", 3))["changed"] == 1
    runs = {make_id("track", name): ("unique", make_id("run", run)) for name, run in (("a", 1), ("b", 3))}
    assert read_groups(lake) == runs


def test_the_verdict_of_a_track_goes_with_it(lake):
    add_tracks(lake, "a", "b", matches=[("a", "b")])
    refresh_song_groups(lake, None)
    with lake.transaction("test") as change:
        change.delete("tracks", "track_id", [make_id("track", "a")])
    assert refresh_song_groups(lake, None)["unique"] == 1
    assert read_groups(lake) == {make_id("track", "b"): ("unique", None)}
