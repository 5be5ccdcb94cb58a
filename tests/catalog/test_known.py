from datetime import UTC, datetime, timedelta

import pytest

from catalog.known import find_known_tracks
from catalog.tables import FILES, MATCHES, SECTIONS, SONG_OVERRIDES, TRACK_STAGES, TRACKS, make_id

OLD_RUN, RUN = make_id("run", "old"), make_id("run", "new")
SONG, CLIP, LATE = (make_id("track", name) for name in ("song", "clip", "late"))
START = datetime(2026, 1, 1, tzinfo=UTC)


def match(first, second, overlap_s, offset_s, lengths, **other):
    """Evidence for two tracks: where the second starts in the first."""
    if first > second:
        first, second, offset_s, lengths = second, first, -offset_s, lengths[::-1]
    row = {"track_id_1": first, "track_id_2": second, "method": "chromaprint", "method_version": "1", "score": 0.95}
    row |= {"overlap_s": overlap_s, "offset_s": offset_s, "speed_ratio": 1.0, "pitch_semitones": 0.0}
    return row | {"sounding_1_s": lengths[0], "sounding_2_s": lengths[1]} | other


def section(track, start_s, end_s, label="other"):
    return {
        "corpus": "c",
        "section_id": make_id("section", track, start_s),
        "track_id": track,
        "start_s": start_s,
        "end_s": end_s,
        "section_label": label,
    }


@pytest.fixture
def lake_of_clip(lake):
    """A song of 180 s, and 40 s of it from 30 s on that a later run brought in, with a copy of these."""
    runs = {SONG: OLD_RUN, CLIP: RUN, LATE: RUN}
    with lake.transaction("test") as change:
        rows = [
            {"corpus": "c", "track_id": track, "title": f"title {place}", "upload_date": START + timedelta(days=place)}
            for place, track in enumerate(runs)
        ]
        change.insert("tracks", TRACKS.make_rows(rows))
        stages = [{"corpus": "c", "track_id": track, "stage": "decode", "run_id": run} for track, run in runs.items()]
        change.insert("track_stages", TRACK_STAGES.make_rows(stages))
        change.insert("files", FILES.make_rows([{"corpus": "c", "uri": "file:///clip.mp3", "track_id": CLIP}]))
        sections = [section(SONG, 0.0, 40.0, "intro"), section(SONG, 40.0, 180.0, "verse")]
        sections += [section(CLIP, 0.0, 8.0), section(CLIP, 8.0, 40.0), section(CLIP, 40.0, 70.0)]
        change.insert("sections", SECTIONS.make_rows(sections))
        matches = [match(SONG, CLIP, 40.0, 30.0, (180.0, 40.0)), match(CLIP, LATE, 38.0, 0.0, (40.0, 38.0))]
        change.insert("matches", MATCHES.make_rows(matches))
    return lake


def test_a_new_excerpt_is_a_known_song_with_its_place(lake_of_clip):
    clip, _ = find_known_tracks(lake_of_clip.connection, RUN)[::-1]
    assert (clip.track_id, clip.relation, clip.known_track_id) == (CLIP, "excerpt", SONG)
    assert (clip.uri, clip.source_song_id, clip.known_title) == ("file:///clip.mp3", SONG, "title 0")


def test_its_sections_are_told_with_those_of_the_song_that_they_are(lake_of_clip):
    clip, _ = find_known_tracks(lake_of_clip.connection, RUN)[::-1]
    told = [(part.start_s, part.at_s, part.existing_song_id) for part in clip.sections]
    verse = make_id("section", SONG, 40.0)
    assert told == [(0.0, 30.0, make_id("section", SONG, 0.0)), (8.0, 38.0, verse), (40.0, 70.0, verse)]


def test_a_section_outside_the_shared_audio_is_not_known(lake_of_clip):
    with lake_of_clip.transaction("test") as change:
        change.delete("matches", "track_id_1", [SONG, CLIP])
        change.delete("matches", "track_id_2", [SONG, CLIP])
        change.insert("matches", MATCHES.make_rows([match(SONG, CLIP, 40.0, 0.0, (40.0, 50.0))]))
    (clip,) = find_known_tracks(lake_of_clip.connection, RUN)
    assert [part.start_s for part in clip.sections] == [0.0, 8.0]


def test_as_many_sections_are_told_as_wanted_and_all_are_counted(lake_of_clip):
    clip, _ = find_known_tracks(lake_of_clip.connection, RUN, most_sections=1)[::-1]
    assert (len(clip.sections), clip.known_sections) == (1, 3)


def test_of_two_new_tracks_the_later_one_is_known(lake_of_clip):
    late, _ = find_known_tracks(lake_of_clip.connection, RUN)
    assert (late.track_id, late.known_track_id, late.relation) == (LATE, CLIP, "same")


def test_the_first_run_knew_nothing(lake_of_clip):
    assert find_known_tracks(lake_of_clip.connection, OLD_RUN) == []


def test_a_split_pair_is_not_known(lake_of_clip):
    pair = dict(zip(("track_id_1", "track_id_2"), sorted((SONG, CLIP)), strict=True))
    with lake_of_clip.transaction("test") as change:
        change.insert("song_overrides", SONG_OVERRIDES.make_rows([pair | {"decision": "split", "decided_at": START}]))
    assert [track.track_id for track in find_known_tracks(lake_of_clip.connection, RUN)] == [LATE]
