"""The patterns of a track's sections: what each instrument plays, as steps, words, vector and MIDI file."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.music.basslines import bass_vector, fold_bassline, write_bassline
from tasks.music.beats import Rhythm, tempo_between
from tasks.music.drums import Hits, expect_hits
from tasks.music.feel import Feel, measure_feel
from tasks.music.midi import write_bass_midi, write_drum_midi
from tasks.music.notes import Notes
from tasks.music.onsets import Onsets
from tasks.music.patterns import fold_pattern, fold_strokes
from tasks.music.sections import Sections
from tasks.music.vectors import drum_vector, write_steps
from tasks.watch import StageWatch

DRUMS, BASS = "drums", "bass"


@dataclass(frozen=True)
class Played:
    """What is heard of the drums and the bass of a track.

    Attributes:
        hits: Of the drum kit.
        faint_hits: Everything that may be a hit, with its chance to be one.
        struck: When and how hard anything is struck: the onsets of the drums, or of the mixture where the drums are not
            separated.
        bass: The notes of the bass stem; none without one.
    """

    hits: Hits
    faint_hits: Hits
    struck: Onsets
    bass: Notes


@dataclass(frozen=True)
class SectionPattern:
    """One instrument's pattern in the section with this index; the other fields, and those of its feel, are columns of
    `patterns`."""

    section: int
    instrument_type: str
    tempo_bpm: float | None
    time_signature: str | None
    bars: int
    steps_per_bar: int
    steps: np.ndarray
    groove: str
    midi_data: dict[str, list]
    quality_score: float
    feel: Feel
    fingerprint: np.ndarray
    midi: bytes


def fold_sections(played: Played, rhythm: Rhythm, parts: Sections, watch: StageWatch) -> Iterator[SectionPattern]:
    """The patterns of each section, those of its drums before those of its bass; none where nothing is played.

    Where drums play, both are folded in the bars of `Rhythm.groove`. The vector of drums is made of all that may be a
    hit, where what is heard faintly but returns is played, and of when and how hard anything is struck. Steps, words
    and MIDI file hold the hits that are sure. A pattern whose tempo is not sure enough to be the track's is no surer
    than that tempo.
    """
    hits, bass = played.hits, played.bass
    trust = 1.0 if len(rhythm.time_s) or not rhythm.groove else rhythm.groove.tempo_confidence
    if len(hits) and rhythm.groove:
        rhythm = rhythm.groove
    expected = expect_hits(played.faint_hits)
    for section, (start_s, end_s) in enumerate(zip(parts.start_s.tolist(), parts.end_s.tolist(), strict=True)):
        place = (rhythm.time_s, rhythm.beat_in_bar, start_s, end_s)
        counted = (tempo_between(rhythm, start_s, end_s), rhythm.time_signature)
        with watch.on("patterns"):
            drums = fold_pattern(hits, *place, rhythm.time_signature)
            likely = (fold_pattern(expected, *place, rhythm.time_signature) if drums else None) or drums
            strokes = fold_strokes(played.struck, *place, rhythm.time_signature) if drums else None
            line = fold_bassline(bass, *place, rhythm.time_signature)
        if drums:
            with watch.on("midi"):
                midi = write_drum_midi(hits, *place, rhythm.tempo_bpm, rhythm.time_signature)
            yield SectionPattern(
                section,
                DRUMS,
                *counted,
                drums.bars,
                drums.steps_per_bar,
                drums.steps.ravel(),
                write_steps(drums.steps, drums.steps_per_bar, rhythm.time_signature),
                drums.midi_data,
                round(trust * drums.quality_score, 4),
                measure_feel(hits.time_s, *place, rhythm.time_signature),
                drum_vector(likely.steps, likely.steps_per_bar, rhythm.time_signature, strokes),
                midi,
            )
        if line:
            with watch.on("midi"):
                midi = write_bass_midi(bass, *place, rhythm.tempo_bpm, rhythm.time_signature)
            yield SectionPattern(
                section,
                BASS,
                *counted,
                line.bars,
                line.steps_per_bar,
                line.velocity,
                write_bassline(line.interval, line.steps_per_bar, rhythm.time_signature),
                line.midi_data,
                round(trust * line.quality_score, 4),
                measure_feel(bass.time_s, *place, rhythm.time_signature, hits.time_s),
                bass_vector(line.velocity, line.interval, line.steps_per_bar, rhythm.time_signature),
                midi,
            )
