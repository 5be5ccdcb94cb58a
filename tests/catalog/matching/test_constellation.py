from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from catalog.duplicates import find_changed_of, match_peaks, refresh_matches
from catalog.matching.constellation import (
    HOP_S,
    PITCH_BITS,
    STEPS_A_SEMITONE,
    Constellation,
    confirm_line,
)
from catalog.matching.evidence import DuplicateParams, relate_peaks
from catalog.matching.fingerprint_index import FingerprintIndex, Part
from catalog.matching.peak_keys import PEAKS, PeakKeyParams, propose_lines
from catalog.matching.segments import Entry, Segment
from catalog.songs import refresh_song_groups
from catalog.tables import FINGERPRINTS, TRACKS, make_id


def draw(seed, count=400):
    """Frames and pitches of random peaks, nine a second."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.integers(1, 9, count)), rng.integers(60, 360, count)


def pack(frame, pitch):
    frame, pitch = np.rint(frame).astype(np.uint32), np.rint(pitch).astype(np.uint32)
    order = np.lexsort([pitch, frame])
    return (frame[order] << np.uint32(PITCH_BITS)) | pitch[order]


def change(seed, ratio=1.0, semitones=0.0, kept=1.0, skipped=0):
    """The peaks of a song, `ratio` times as fast, higher by semitones, some of them lost, without its beginning."""
    frame, pitch = draw(seed)
    chosen = np.random.default_rng(seed + 1).random(len(frame)) < kept
    chosen &= frame >= skipped
    return pack((frame[chosen] - skipped) / ratio, pitch[chosen] + semitones * STEPS_A_SEMITONE)


def index_of(*seeds):
    entries = [Entry.of(seed, make_id("track", seed), pack(*draw(seed))) for seed in seeds]
    return FingerprintIndex([Part.whole(Segment.build(entries, PEAKS.make_keys))])


def overlay(items, seed=1, count=400):
    song = pack(*draw(seed, count))
    index = FingerprintIndex([Part.whole(Segment.build([Entry.of(1, make_id("track", seed), song)], PEAKS.make_keys))])
    return confirm_line(Constellation.from_items(song), Constellation.from_items(items), propose_lines(index, items)[0])


def join(first, second, second_s):
    """A song, and after it the first seconds of another."""
    frame, pitch = second
    begun = frame < second_s / PEAKS.hop_s
    return pack(np.concatenate([first[0], first[0][-1] + 5 + frame[begun]]), np.concatenate([first[1], pitch[begun]]))


@pytest.mark.parametrize(("ratio", "semitones"), [(1.0, 0.0), (1.05, 0.85), (0.92, 0.0), (1.0, -2.0), (1.08, 1.0)])
def test_speed_and_pitch_are_measured(ratio, semitones):
    found = overlay(change(1, ratio, semitones, kept=0.9))
    assert found.line.ratio == pytest.approx(ratio, abs=0.002)
    assert -found.line.pitch_steps / STEPS_A_SEMITONE == pytest.approx(semitones, abs=0.1)
    assert found.score > 0.7


def test_a_part_is_found_where_it_lies():
    found = overlay(change(1, skipped=500, ratio=1.03))
    assert found.line.offset == pytest.approx(500, abs=3)


def test_other_songs_are_not_confirmed():
    index = index_of(*range(2, 12))
    items = pack(*draw(1))
    second = Constellation.from_items(items)
    lines = propose_lines(index, items)
    assert not any(
        confirm_line(Constellation.from_items(index.track_items(track)), second, line) for track, line in lines.items()
    )


def test_a_song_that_a_quarter_of_another_follows_shares_that_quarter_alone():
    joined = join(draw(2, 600), draw(1, 600), second_s=15)
    found = overlay(joined, seed=1, count=600)
    assert found.overlap_s == pytest.approx(15, abs=1)
    match = found.to_match(("a", "b"), Constellation.from_items(pack(*draw(1, 600))), Constellation.from_items(joined))
    assert relate_peaks(match, DuplicateParams()) is None


def test_those_with_the_most_keys_in_common_are_proposed_where_there_are_too_many():
    kept = (0.5, 0.8, 1.0, 0.6, 0.9)
    entries = [Entry.of(row, make_id("track", row), change(1, kept=share)) for row, share in enumerate(kept)]
    index = FingerprintIndex([Part.whole(Segment.build(entries, PEAKS.make_keys))])
    params = PeakKeyParams(most_tracks=2)
    assert set(propose_lines(index, pack(*draw(1)), params)) == {2, 4}


def test_a_tone_that_comes_and_goes_says_nothing():
    frame, _ = draw(1)
    tone = pack(frame, np.full(len(frame), 200))
    entries = [Entry.of(1, make_id("track", 1), tone)]
    index = FingerprintIndex([Part.whole(Segment.build(entries, PEAKS.make_keys))])
    second = Constellation.from_items(tone)
    assert not any(confirm_line(second, second, line) for line in propose_lines(index, tone).values())


@pytest.mark.parametrize("items", [np.zeros(0, np.uint32), pack(np.arange(2), np.arange(2))])
def test_almost_no_peaks_propose_nothing(items):
    assert propose_lines(index_of(1), items) == {}


def test_new_tracks_are_matched_with_each_other_once():
    entries = [Entry.of(row, make_id("track", row), change(1, ratio)) for row, ratio in enumerate((1.0, 1.04))]
    (match,), _ = match_peaks(FingerprintIndex(), entries)
    assert {match.track_id_1, match.track_id_2} == {entry.track_id for entry in entries}
    assert match.method == "peaks"


@pytest.fixture
def songs(lake):
    """A song, the same faster, a song of its own."""
    items = {"song": pack(*draw(1)), "faster": change(1, 1.05, 0.85, kept=0.9), "other": pack(*draw(5))}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    tracks, rows = [], []
    for place, (name, found) in enumerate(items.items()):
        base = {"corpus": "c", "track_id": make_id("track", name)}
        tracks.append(base | {"upload_date": start + timedelta(days=place)})
        rows.append(base | {"algorithm": PEAKS.algorithm, "items": found, "hop_s": PEAKS.hop_s})
    with lake.transaction("test") as change_:
        change_.insert("tracks", TRACKS.make_rows(tracks))
        change_.insert("fingerprints", FINGERPRINTS.make_rows(rows))
    return lake


def test_a_faster_copy_is_the_same_song_transformed_with_its_speed(songs):
    refresh_matches(songs)
    refresh_song_groups(songs, None)
    rows = songs.query("SELECT track_id, source_song_id, relation, speed_ratio FROM song_groups").to_pylist()
    found = {row["track_id"]: row for row in rows}
    faster, song, other = (found[make_id("track", name)] for name in ("faster", "song", "other"))
    assert (faster["relation"], faster["source_song_id"]) == ("transformed", song["source_song_id"])
    assert faster["speed_ratio"] == pytest.approx(1.05, abs=0.002)
    assert other["relation"] == "unique"


def test_a_song_that_a_quarter_of_another_follows_is_not_merged_with_it(lake):
    items = {"first": pack(*draw(1, 600)), "joined": join(draw(2, 600), draw(1, 600), second_s=15)}
    rows = [
        {
            "corpus": "c",
            "track_id": make_id("track", name),
            "algorithm": PEAKS.algorithm,
            "items": found,
            "hop_s": HOP_S,
        }
        for name, found in items.items()
    ]
    with lake.transaction("test") as change_:
        change_.insert("tracks", TRACKS.make_rows([{"corpus": "c", "track_id": row["track_id"]} for row in rows]))
        change_.insert("fingerprints", FINGERPRINTS.make_rows(rows))
    refresh_matches(lake)
    refresh_song_groups(lake, None)
    assert lake.query("SELECT relation FROM song_groups")["relation"].to_pylist() == ["unique", "unique"]


def test_a_second_night_changes_nothing(songs):
    refresh_matches(songs)
    assert refresh_matches(songs)["changed"] == 0


def test_a_query_at_another_speed_finds_its_song(songs):
    refresh_matches(songs)
    found = find_changed_of(songs.connection, change(1, 0.95, -0.9, kept=0.9), songs.folder)
    assert [song.track_id for song in found][:1] == [make_id("track", "song")]
    assert found[0].relation == "transformed"
