from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from catalog.duplicates import match_beat_chroma, refresh_matches
from catalog.lake import Lake
from catalog.matching.beat_chroma import METHOD, BeatChroma, lay_over, make_vector, propose_levels
from catalog.matching.fingerprint_index import FingerprintIndex, Part, open_store
from catalog.matching.segments import Entry
from catalog.songs import judge_match, refresh_song_groups
from catalog.tables import FINGERPRINTS, TRACKS, make_id
from catalog.verdicts import explain_pair
from tasks.music.beatchroma import ALGORITHM, HOP_S, pack_levels

START = datetime(2026, 1, 1, tzinfo=UTC)


def compose(seed, beats=128):
    """A song: chords of two beats with a melody over them, the level of each pitch class (12, half beats)."""
    rng = np.random.default_rng(seed)
    level = np.zeros((12, 2 * beats))
    for start in range(0, 2 * beats, 4):
        root = rng.integers(12)
        level[[root, (root + rng.choice([3, 4])) % 12, (root + 7) % 12], start : start + 4] = 9
    level[rng.integers(12, size=2 * beats), np.arange(2 * beats)] = 15
    return level


def perform(level, semitones=0, beat_s=0.5, start_s=0.0, seed=0, noise=2):
    """A recording of it: the items, with other instruments, which add pitch classes at random."""
    rng = np.random.default_rng(seed)
    level = np.roll(level, semitones, axis=0) + rng.integers(0, noise + 1, level.shape)
    return pack_levels(np.minimum(15, level), start_s + beat_s / 2 * np.arange(level.shape[1] + 1))


def lay(first, second, level=1.0):
    first, second = BeatChroma.from_items(first), BeatChroma.from_items(second).count_again(level)
    found = lay_over(first, second)
    return found and found.to_match(("1", "2"), first, second)


def match_all(recordings):
    """The matches, by the names of both recordings."""
    names = {make_id("track", name): name for name in recordings}
    entries = [Entry.of(row, make_id("track", name), items) for row, (name, items) in enumerate(recordings.items())]
    matches, _ = match_beat_chroma(FingerprintIndex(), entries)
    return {frozenset((names[match.track_id_1], names[match.track_id_2])): match for match in matches}


@pytest.mark.parametrize("semitones", [-5, 0, 3])
@pytest.mark.parametrize("beat_s", [0.4, 0.5, 0.62])
def test_a_cover_is_found_in_any_key_and_tempo_with_both(semitones, beat_s):
    song = compose(1)
    match = lay(perform(song, seed=1), perform(song, semitones, beat_s, start_s=2.0, seed=2))
    assert match.score > 0.8
    assert match.pitch_semitones == semitones
    assert match.speed_ratio == pytest.approx(0.5 / beat_s, abs=0.01)
    assert match.offset_s == pytest.approx(-2.0 * 0.5 / beat_s, abs=0.1)
    assert match.overlap_s == pytest.approx(64, abs=1)


def test_other_songs_are_not_alike():
    found = [lay(perform(compose(seed)), perform(compose(seed + 100))) for seed in range(20)]
    assert found == [None] * 20


@pytest.mark.parametrize("level", [0.5, 2.0, 0.75, 4 / 3])
def test_beats_that_were_counted_at_another_level_are_counted_again(level):
    song = BeatChroma.from_items(perform(compose(1, 160), seed=1))
    other = song.count_again(1 / level)
    items = pack_levels(np.rint(other.level / level), other.edges_s)
    index = FingerprintIndex(
        [Part.whole(match_beat_chroma(FingerprintIndex(), [Entry.of(0, make_id("track", "a"), items)])[1])]
    )
    (((number, found),),) = propose_levels(index, [song], [1])
    assert (number, found) == (0, pytest.approx(1 / level))
    assert lay_over(other, song.count_again(found)).score > 0.9


def test_a_section_is_no_version_and_the_shorter_recording_is():
    song = compose(1)
    assert lay(perform(song), perform(song[:, 64:128], seed=1)).offset_s == pytest.approx(16.0, abs=0.1)
    longer = np.concatenate([song[:, 160:], compose(2)[:, :160]], axis=1)
    assert lay(perform(song), perform(longer, seed=1)) is None


def test_two_chords_to_and_fro_are_no_song():
    vamp = np.tile(np.repeat(np.eye(12)[:, [0, 7]] * 15, 4, axis=1), 32)
    other = np.tile(np.repeat(np.eye(12)[:, [2, 9]] * 15, 4, axis=1), 32)
    assert BeatChroma.from_items(perform(vamp, noise=1)).richness < 2
    match = lay(perform(vamp, noise=1), perform(other, seed=1, noise=1))
    assert match is None or judge_match(match) is None


def test_silence_and_a_steady_tone_have_no_movement():
    tone = np.zeros((12, 128))
    tone[4] = 15
    for level in (tone, np.zeros((12, 128))):
        items = perform(level, noise=0)
        assert BeatChroma.from_items(items).richness == 0
        assert not make_vector(items).any()
        assert match_all({"tone": items, "again": items}) == {}


def test_a_broken_fingerprint_is_like_none():
    song = perform(compose(1))
    assert not make_vector(song[:-1]).any()
    assert match_all({"song": song, "broken": song[:-1], "empty": song[:0]}) == {}


def test_the_vector_is_that_of_every_key():
    song = compose(1)
    first, second = (
        make_vector(pack_levels(np.roll(song, turn, axis=0), 0.25 * np.arange(257))).astype(int) for turn in (0, 5)
    )
    assert np.abs(first - second).max() <= 1


def test_of_many_songs_the_cover_is_matched_with_its_own():
    recordings = {f"song {seed}": perform(compose(seed), seed=seed) for seed in range(60)}
    covers = {f"cover {seed}": perform(compose(seed), 2, 0.55, seed=seed + 1000) for seed in (7, 30, 59)}
    assert set(match_all(recordings | covers)) == {frozenset((f"song {n}", f"cover {n}")) for n in (7, 30, 59)}


def fill(lake, recordings):
    base = {"corpus": "c", "algorithm": ALGORITHM, "hop_s": HOP_S}
    count = lake.query("SELECT count(*) AS n FROM tracks")["n"][0].as_py()
    with lake.transaction("test") as change:
        tracks = [
            {"corpus": "c", "track_id": make_id("track", name), "upload_date": START + timedelta(seconds=count + place)}
            for place, name in enumerate(recordings)
        ]
        change.insert("tracks", TRACKS.make_rows(tracks))
        rows = [base | {"track_id": make_id("track", name), "items": items} for name, items in recordings.items()]
        change.insert("fingerprints", FINGERPRINTS.make_rows(rows))


def test_a_cover_becomes_a_version_that_is_explained_and_never_merged(tmp_path):
    song, pair = compose(1), (make_id("track", "song"), make_id("track", "cover"))
    with Lake.open(tmp_path / "lake") as lake:
        fill(lake, {"song": perform(song), "other": perform(compose(2)), "cover": perform(song, 3, seed=5)})
        assert refresh_matches(lake)["matches"] == 1
        counts = refresh_song_groups(lake, None)
        assert (counts["songs"], counts["version"], counts["unique"]) == (3, 1, 2)
        explained = explain_pair(lake.connection, *pair)
    assert not explained.same_song
    assert "harmony that moves alike from beat to beat" in explained.reasons[0]
    assert explained.evidence[0].match.method == METHOD


def test_a_night_matches_the_new_tracks_alone(tmp_path, monkeypatch):
    import catalog.duplicates

    asked = []

    def propose(index, queries, before):
        asked.extend(before)
        return propose_levels(index, queries, before)

    monkeypatch.setattr(catalog.duplicates, "propose_levels", propose)
    with Lake.open(tmp_path / "lake") as lake:
        fill(lake, {f"song {seed}": perform(compose(seed)) for seed in range(5)})
        refresh_matches(lake)
        fill(lake, {"cover": perform(compose(3), 1, seed=9)})
        assert refresh_matches(lake)["matches"] == 1
        refresh_matches(lake)
        store = open_store(lake.folder, catalog.duplicates.BEAT_CHROMA)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert sum(len(part.segment.vectors) for part in store.parts) == 6
    assert store.verify() == []
