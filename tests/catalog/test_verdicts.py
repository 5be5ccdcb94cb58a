from datetime import UTC, datetime

import pytest

from catalog.errors import BadQuery, UnknownId
from catalog.songs import refresh_song_groups
from catalog.tables import MATCHES, TRACKS, make_id
from catalog.verdicts import decide_pair, explain_pair, withdraw_word

SONG, COPY, OTHER, PART_1, PART_2 = sorted(make_id("track", name) for name in "abcde")


def link(first, second, score=0.97, overlap_s=180.0, offset_s=0.0, lengths=(180.0, 180.0), **other):
    return {
        "track_id_1": first,
        "track_id_2": second,
        "method": "chromaprint",
        "method_version": "1",
        "score": score,
        "overlap_s": overlap_s,
        "offset_s": offset_s,
        "speed_ratio": 1.0,
        "pitch_semitones": 0.0,
        "sounding_1_s": lengths[0],
        "sounding_2_s": lengths[1],
    } | other


@pytest.fixture
def songs(lake):
    """A song with a copy and two parts that do not overlap, and another song that is a little like it."""
    tracks = [
        {"corpus": "c", "track_id": track, "title": title, "duration_s": 180.0, "upload_date": datetime.now(UTC)}
        for track, title in ((SONG, "Song"), (COPY, "Copy"), (OTHER, "Other"), (PART_1, "Intro"), (PART_2, "Outro"))
    ]
    matches = [
        link(SONG, COPY),
        link(SONG, OTHER, score=0.72),
        link(SONG, PART_1, overlap_s=20.0, offset_s=5.0, lengths=(180.0, 20.0)),
        link(SONG, PART_2, overlap_s=20.0, offset_s=150.0, lengths=(180.0, 20.0)),
    ]
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows(tracks))
        change.insert("matches", MATCHES.make_rows(matches))
    refresh_song_groups(lake, None)
    return lake


def test_a_copy_is_explained_by_its_match(songs):
    explained = explain_pair(songs.connection, COPY, SONG)
    assert explained.same_song
    (reason,) = explained.reasons
    assert "scores 0.97 over 180.0 s, 100 % of the shorter" in reason
    assert reason.endswith("the same recording.")


def test_a_likeness_over_most_of_a_song_is_a_version_of_it(songs):
    explained = explain_pair(songs.connection, SONG, OTHER)
    assert explained.same_song is False
    assert explained.reasons[0].endswith("like each other, and another recording.")


def test_a_likeness_that_is_too_weak_is_told_with_the_limit(songs):
    row = link(COPY, OTHER, score=0.72, overlap_s=60.0)
    with songs.transaction("test") as change:
        change.insert("matches", MATCHES.make_rows([row]))
    explained = explain_pair(songs.connection, COPY, OTHER)
    assert explained.same_song is False
    assert "less than the 0.85 that one recording has" in explained.reasons[0]


@pytest.mark.parametrize(
    ("score", "speed_ratio", "told"),
    [
        (0.81, 1.05, "finds 81 % of the spectral peaks in both"),
        (0.81, 1.05, "at +5.0 % speed and +0.8 semitones: the same recording, changed."),
        (0.72, 1.0, "like each other, and another recording."),
        (0.25, 1.05, "alike, and less than the 70 % that one recording has."),
    ],
)
def test_spectral_peaks_are_explained_in_their_own_words(songs, score, speed_ratio, told):
    semitones = 0.8 if speed_ratio > 1 else 0.0
    row = link(COPY, OTHER, score, method="peaks", speed_ratio=speed_ratio, pitch_semitones=semitones)
    with songs.transaction("test") as change:
        change.insert("matches", MATCHES.make_rows([row]))
    refresh_song_groups(songs, None)
    assert told in explain_pair(songs.connection, COPY, OTHER).reasons[0]


def test_two_parts_belong_together_through_their_song(songs):
    explained = explain_pair(songs.connection, PART_1, PART_2)
    assert explained.same_song
    told = " ".join(explained.reasons)
    assert "through others" in told
    assert f"{PART_1} is excerpt of {SONG} (Song), from 5.0 s on." in told
    assert f"{PART_2} is excerpt of {SONG} (Song), from 150.0 s on." in told


def test_tracks_that_share_nothing_are_two_songs_for_that_reason(songs):
    explained = explain_pair(songs.connection, COPY, OTHER)
    assert explained.same_song is False
    assert explained.reasons[0].startswith("No audio was found that both share")


def test_tracks_that_were_never_grouped_are_said_to_be_so(lake):
    with lake.transaction("test") as change:
        change.insert("tracks", TRACKS.make_rows([{"corpus": "c", "track_id": track} for track in (SONG, COPY)]))
    explained = explain_pair(lake.connection, SONG, COPY)
    assert explained.same_song is None
    assert "midime nightly" in explained.verdict


def test_a_split_parts_a_copy_for_good(songs):
    explained = decide_pair(songs, COPY, SONG, "split", note="another mix")
    assert explained.same_song is False
    assert explained.reasons[0].endswith("that they are not one song: another mix")
    refresh_song_groups(songs, None)
    assert explain_pair(songs.connection, COPY, SONG).same_song is False


def test_a_merge_joins_what_shares_no_audio_and_survives_the_next_night(songs):
    assert decide_pair(songs, COPY, OTHER, "merge").same_song
    refresh_song_groups(songs, None)
    assert explain_pair(songs.connection, COPY, OTHER).same_song


def test_the_last_word_counts_and_can_be_taken_back(songs):
    decide_pair(songs, SONG, COPY, "split")
    assert decide_pair(songs, SONG, COPY, "merge").word == "merge"
    assert songs.query("SELECT count(*) AS n FROM song_overrides").to_pylist() == [{"n": 1}]
    explained = withdraw_word(songs, COPY, SONG)
    assert (explained.word, explained.same_song) == (None, True)


def test_what_cannot_be_decided_is_refused(songs):
    with pytest.raises(BadQuery, match="two different tracks"):
        explain_pair(songs.connection, SONG, SONG)
    with pytest.raises(UnknownId, match="no track"):
        decide_pair(songs, SONG, make_id("track", "none"), "merge")
    with pytest.raises(BadQuery, match="not to divorce"):
        decide_pair(songs, SONG, COPY, "divorce")
    with pytest.raises(BadQuery, match="Nothing was said"):
        withdraw_word(songs, SONG, COPY)
