from dataclasses import replace

import numpy as np
import pytest

from tasks.fold import BASS, DRUMS, Played, fold_sections
from tasks.music.beats import Rhythm, no_pulse
from tasks.music.drums import NO_HITS, Hits
from tasks.music.notes import NO_NOTES, Notes
from tasks.music.onsets import NO_ONSETS, Onsets
from tasks.music.sections import Sections
from tasks.watch import StageWatch

BEAT_S = np.arange(49) * 0.5
PARTS = Sections(np.array([0.0]), np.array([24.0]), np.array(["other"]), np.array([0.0]))
IN_THREE = Rhythm(BEAT_S, np.arange(49) % 3 + 1, tempo_bpm=120.0, time_signature="3/4")
IN_FOUR = Rhythm(BEAT_S, np.arange(49) % 4 + 1, tempo_bpm=120.0, time_signature="4/4")


def backbeat(late_s=0.0) -> Hits:
    rows = sorted(
        (beat * 0.5 + half * 0.25 + late_s, name)
        for beat in range(48)
        for half, name in ((0, "kick" if beat % 2 == 0 else "snare"), (0, "hihat"), (1, "hihat"))
    )
    count = len(rows)
    names = np.array([name for _, name in rows], dtype="U5")
    return Hits(np.array([time_s for time_s, _ in rows]), names, np.full(count, 100), np.full(count, 0.9, np.float32))


def bass_line() -> Notes:
    count = 48
    time_s, velocity = np.arange(count) * 0.5, np.full(count, 90)
    return Notes(time_s, np.full(count, 0.3), np.full(count, 33), velocity, np.full(count, 0.9, np.float32))


def fold(hits: Hits, bass: Notes, rhythm: Rhythm, faint_hits: Hits = NO_HITS, struck: Onsets = NO_ONSETS) -> list:
    return list(fold_sections(Played(hits, faint_hits, struck, bass), rhythm, PARTS, StageWatch(60)))


def test_drums_and_bass_are_folded_in_the_bars_of_the_groove():
    patterns = fold(backbeat(), bass_line(), replace(IN_THREE, groove=IN_FOUR))
    assert [pattern.instrument_type for pattern in patterns] == [DRUMS, BASS]
    assert {pattern.time_signature for pattern in patterns} == {"4/4"}
    assert {pattern.steps_per_bar for pattern in patterns} == {16}
    assert [pattern.tempo_bpm for pattern in patterns] == pytest.approx([120.0, 120.0])


def test_without_drums_the_bars_are_those_of_the_track():
    no_hits = Hits(np.zeros(0), np.zeros(0, "U5"), np.zeros(0, int), np.zeros(0, np.float32))
    (line,) = fold(no_hits, bass_line(), replace(IN_THREE, groove=IN_FOUR))
    assert (line.instrument_type, line.time_signature, line.steps_per_bar) == (BASS, "3/4", 12)


def test_without_another_groove_the_bars_are_those_of_the_track():
    (drums,) = fold(backbeat(), NO_NOTES, IN_FOUR)
    assert drums.time_signature == "4/4"


def test_each_instrument_has_its_own_feel():
    drums, line = fold(backbeat(late_s=-0.01), bass_line(), IN_FOUR)
    assert drums.feel.microtiming_ms == pytest.approx(0.0, abs=0.1)
    assert drums.feel.swing_ratio == pytest.approx(1.0, abs=0.01)
    assert line.feel.microtiming_ms == pytest.approx(10.0, abs=0.1)
    assert line.feel.swing_ratio is None


def test_faint_hits_that_return_are_in_the_vector_and_in_nothing_else():
    hits = backbeat()
    unsure = hits.instrument == "snare"
    sure = Hits(*(field[~unsure] for field in vars(hits).values()))
    faint = replace(hits, confidence=np.where(unsure, 0.3, 0.9).astype(np.float32))
    (whole,), (known,) = fold(hits, NO_NOTES, IN_FOUR), fold(sure, NO_NOTES, IN_FOUR)
    (drums,) = fold(sure, NO_NOTES, IN_FOUR, faint)
    assert drums.groove == known.groove
    assert "snare" not in drums.groove
    assert drums.fingerprint @ whole.fingerprint > 0.95 > known.fingerprint @ whole.fingerprint


def test_what_is_struck_is_in_the_vector_whatever_drum_it_is_taken_for():
    hits = backbeat()
    struck = Onsets(np.unique(hits.time_s), np.ones(96, np.float32))
    kept = (hits.time_s / 0.25) % 8 < 4
    half = Hits(*(field[kept] for field in vars(hits).values()))
    (whole,) = fold(hits, NO_NOTES, IN_FOUR, struck=struck)
    (told,), (untold,) = fold(half, NO_NOTES, IN_FOUR, struck=struck), fold(half, NO_NOTES, IN_FOUR)
    assert told.fingerprint @ whole.fingerprint > untold.fingerprint @ whole.fingerprint + 0.1
    assert told.groove == untold.groove


def test_a_loop_is_as_sure_as_its_tempo():
    loop = replace(IN_FOUR, tempo_confidence=0.5)
    (sure,) = fold(backbeat(), NO_NOTES, IN_FOUR)
    (unsure,) = fold(backbeat(), NO_NOTES, replace(no_pulse(), groove=loop))
    assert unsure.quality_score == pytest.approx(sure.quality_score / 2, abs=1e-4)
