from dataclasses import dataclass

import numpy as np
import pytest

from catalog.duplicates import refresh_matches
from catalog.matching.alignment import CHROMAPRINT
from catalog.tables import FINGERPRINTS, SECTIONS, TRACKS, make_id
from flows.analyze import describe_pattern, recognise
from flows.settings import Settings
from tasks.fold import Played, fold_sections
from tasks.music.beats import Rhythm
from tasks.music.chromaprint import AcousticFingerprint, ChromaprintStream
from tasks.music.drums import Hits
from tasks.music.notes import Notes
from tasks.music.onsets import NO_ONSETS
from tasks.music.peaks import PeakStream
from tasks.music.sections import Sections
from tasks.music.signals import SAMPLE_RATE_HZ
from tasks.watch import StageWatch

SONG = make_id("track", "song")


@dataclass
class Heard:
    """What a recognition reads of an analysis."""

    fingerprint: AcousticFingerprint
    peaks: AcousticFingerprint
    duration_s: float


def hear(samples):
    """Both fingerprints of samples float32 (n,)."""
    streams = ChromaprintStream(), PeakStream()
    for stream in streams:
        stream.push(samples[None].astype(np.float32))
    return Heard(*(stream.finish() for stream in streams), len(samples) / SAMPLE_RATE_HZ)


def play(seconds, seed=1, ratio=1.0):
    """Random chords, `ratio` times as fast and as high."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(SAMPLE_RATE_HZ / 4 / ratio)) / SAMPLE_RATE_HZ
    chords = []
    for _ in range(int(seconds * 4)):
        hz = ratio * 220 * 2 ** (rng.integers(0, 36, 3) / 12)
        chords.append(
            np.exp(-4 * ratio * time_s) * sum(np.sin(2 * np.pi * f * k * time_s) / k for f in hz for k in (1, 2))
        )
    return 0.15 * np.concatenate(chords)


def clap(seconds, seed=0):
    """Applause: short bursts of noise at random times."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(int(seconds * SAMPLE_RATE_HZ))
    burst = np.exp(-np.arange(2_000) / 300)
    for start in rng.integers(0, len(samples) - 2_000, int(seconds * 80)):
        samples[start : start + 2_000] += 0.1 * burst * rng.standard_normal(2_000)
    return samples


@pytest.fixture
def settings(lake):
    """A lake with a minute of music in six sections, and applause and a test tone beside it."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(30 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    tracks = {"song": play(60), "applause": clap(30, seed=5), "tone": tone, "silence": np.zeros(SAMPLE_RATE_HZ * 20)}
    with lake.transaction("test") as change:
        for name, samples in tracks.items():
            base, heard = {"corpus": "c", "track_id": make_id("track", name)}, hear(samples)
            change.insert("tracks", TRACKS.make_rows([base | {"privacy_setting": "public"}]))
            rows = [
                base | {"algorithm": print_.algorithm, "items": print_.items, "hop_s": print_.hop_s}
                for print_ in (heard.fingerprint, heard.peaks)
            ]
            change.insert("fingerprints", FINGERPRINTS.make_rows(rows))
        sections = [
            {"corpus": "c", "track_id": SONG, "section_id": make_id("section", n), "section_label": "verse"}
            | {"start_s": 10.0 * n, "end_s": 10.0 * n + 10.0}
            for n in range(6)
        ]
        change.insert("sections", SECTIONS.make_rows(sections))
    refresh_matches(lake)
    return Settings(lake=lake.folder)


def test_a_clip_of_a_known_song_is_recognised_with_its_sections(settings):
    found = recognise(hear(play(60)[22 * SAMPLE_RATE_HZ : 37 * SAMPLE_RATE_HZ]), settings)
    assert (found.duplicate_detected, found.source_song_id) == (True, SONG)
    assert "The clip is excerpt of track" in found.duplicate_reason
    assert [part["start_s"] for part in found.existing_sections] == [20.0, 30.0, 0.0, 10.0, 40.0]


def test_a_faster_clip_is_recognised(settings):
    faster = play(60, ratio=1.06)
    found = recognise(hear(faster[15 * SAMPLE_RATE_HZ : 35 * SAMPLE_RATE_HZ]), settings)
    assert (found.duplicate_detected, found.source_song_id) == (True, SONG)


def test_as_many_sections_are_told_as_set(settings):
    found = recognise(hear(play(60)), settings.model_copy(update={"sections_per_song": 2}))
    assert len(found.existing_sections) == 2


def test_nothing_is_looked_for_where_that_is_switched_off(settings):
    found = recognise(hear(play(60)), settings.model_copy(update={"find_duplicates": False}))
    assert found.duplicate_detected is None
    assert "MIDIME_FIND_DUPLICATES" in found.duplicate_reason


def test_a_private_song_of_another_is_not_told(settings, lake):
    lake.connection.execute("UPDATE tracks SET privacy_setting = 'private', user_id = 'ann'")
    heard = hear(play(60)[: 20 * SAMPLE_RATE_HZ])
    assert recognise(heard, settings).duplicate_detected is False
    assert recognise(heard, settings.model_copy(update={"user": "ann"})).duplicate_detected is True


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (play(1), "The clip says nothing"),
        (np.zeros(20 * SAMPLE_RATE_HZ), "The clip says nothing"),
        (np.sin(2 * np.pi * 1000 * np.arange(20 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ), "The clip says nothing"),
        (clap(20, seed=6), "No track of the lake shares audio"),
        (play(20, seed=9), "No track of the lake shares audio"),
    ],
    ids=["a second", "silence", "a test tone", "applause", "another song"],
)
def test_what_says_nothing_or_is_unknown_matches_nothing_and_the_reason_is_told(settings, samples, reason):
    found = recognise(hear(samples), settings)
    assert (found.duplicate_detected, found.source_song_id) == (False, None)
    assert found.duplicate_reason.startswith(reason)


@pytest.mark.parametrize(("algorithm", "hop_s"), [("chromaprint-test1", CHROMAPRINT.hop_s), ("chromaprint-test2", 0.1)])
def test_a_fingerprint_of_another_version_is_not_matched(settings, lake, algorithm, hop_s):
    heard = hear(play(60))
    with lake.transaction("test") as change:
        change.delete("fingerprints", "track_id", [SONG])
        row = {
            "corpus": "c",
            "track_id": SONG,
            "algorithm": algorithm,
            "items": heard.fingerprint.items,
            "hop_s": hop_s,
        }
        change.insert("fingerprints", FINGERPRINTS.make_rows([row | {"items": heard.fingerprint.items}]))
    assert recognise(heard, settings).duplicate_detected is False


@pytest.mark.parametrize("instrument", ["drums", "bass"])
@pytest.mark.parametrize("time_signature", ["4/4", "6/8"])
def test_the_steps_of_a_pattern_are_told_by_their_row_in_every_meter(instrument, time_signature):
    beats = np.arange(33)
    rhythm = Rhythm(beats * 0.5, beats % 2 + 1, tempo_bpm=120.0, time_signature=time_signature)
    kicks = Hits(beats * 0.5, np.full(33, "kick"), np.full(33, 100), np.ones(33, np.float32))
    notes = Notes(beats * 0.5, np.full(33, 0.4), np.full(33, 36), np.full(33, 90), np.ones(33, np.float32))
    whole = Sections(np.zeros(1), np.array([16.0]), np.array(["other"]), np.zeros(1))
    patterns = {
        pattern.instrument_type: pattern
        for pattern in fold_sections(Played(kicks, kicks, NO_ONSETS, notes), rhythm, whole, StageWatch())
    }
    told = describe_pattern(patterns[instrument])
    (row,) = told["steps"]
    assert row == {"drums": "kick", "bass": "bass"}[instrument]
    assert told["time_signature"] == time_signature
    assert set(told["steps"][row]) <= set("x0.")
