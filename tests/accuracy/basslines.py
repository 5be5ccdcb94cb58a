"""How well the notes of a bass are heard: alone, and behind our own separation of a whole band.

Every clip has a bass line, chords and a melody in a key of its own, played by the sound font TimGM6mb, and the drums of
a performance of the Groove MIDI Dataset. Its acoustic bass is
left out: it speaks a fifth of a second late. Needs `fluidsynth` and the sound font (apt-get install
--no-install-recommends fluidsynth timgm6mb-soundfont). Run as a script with the folder that holds groove/ and how many
clips.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from tasks.models.spleeter import load_separator
from tasks.models.training.kits import render_midi
from tasks.music.notes import Notes, PitchStream, detect_notes
from tasks.music.onsets import detect_onsets
from tasks.music.signals import HOP_S, SAMPLE_RATE_HZ, Signal, compute_log_mel

SOUND_FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
NEEDS = ("fluidsynth", SOUND_FONT)
CLIPS = 24
CLIP_S = 20.0
BASSES, CHORDS, LEADS = (33, 34, 35, 36, 38, 39), (0, 4, 16, 24, 27, 48), (56, 65, 73, 80)
BLOCK = 10 * SAMPLE_RATE_HZ
ONSET_WINDOW_S, PITCH_WINDOW_CENTS = 0.05, 50.0


@dataclass(frozen=True)
class Line:
    """The notes of a bass that was made up: starts and ends in seconds, MIDI notes."""

    start_s: np.ndarray
    end_s: np.ndarray
    midi_note: np.ndarray


def run(train_path: Path, clips: int = CLIPS) -> dict:
    """Note F (onset within 50 ms, pitch within 50 cents) with precision and recall, and notes heard in drums alone."""
    scores: dict[str, list] = {"bass alone": [], "in the band": []}
    octave_free, invented, drums_s = [], 0, 0.0
    performances = sorted((train_path / "groove").glob("**/*_beat_4-4.mid"))
    for number in range(clips):
        rng = np.random.default_rng([11, number])
        line, band = make_band(performances[number * len(performances) // clips], rng)
        parts = {name: render_midi(band_of(band, channels), SOUND_FONT) for name, channels in PARTS.items()}
        length = max(part.shape[1] for part in parts.values())
        parts = {name: np.pad(part, ((0, 0), (0, length - part.shape[1]))) for name, part in parts.items()}
        scores["bass alone"].append(score_line(line, hear(parts["bass"])))
        heard = hear(separate_bass(sum(parts.values())))
        scores["in the band"].append(score_line(line, heard))
        octave_free.append(score_line(line, heard, fold_octaves=True))
        invented += len(hear(separate_bass(parts["drums"])))
        drums_s += length / SAMPLE_RATE_HZ
    return {
        "clips": clips,
        **{name: _mean(found) for name, found in scores.items()},
        "in the band, octaves forgiven": _mean(octave_free),
        "notes a minute in drums alone": round(60 * invented / drums_s, 2),
    }


PARTS = {"bass": (0,), "drums": (9,), "music": (1, 2)}


def make_band(drums: Path, rng: np.random.Generator) -> tuple[Line, list[tuple[float, mido.Message]]]:
    """A made-up bass line with chords and a melody over a drummer's performance: the line, and all messages by time."""
    scale = np.array([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10]][rng.integers(2)])
    key, beat_s = int(rng.integers(12)), 60 / rng.uniform(75, 150)
    degrees = rng.integers(0, 7, 16)
    events = [
        (0.0, mido.Message("program_change", channel=0, program=int(rng.choice(BASSES)))),
        (0.0, mido.Message("program_change", channel=1, program=int(rng.choice(CHORDS)))),
        (0.0, mido.Message("program_change", channel=2, program=int(rng.choice(LEADS)))),
    ]

    def play(channel: int, note: int, velocity: float, start_s: float, end_s: float) -> None:
        loud = int(np.clip(velocity, 30, 120))
        events.append((start_s, mido.Message("note_on", channel=channel, note=note, velocity=loud)))
        events.append((end_s - 0.01, mido.Message("note_off", channel=channel, note=note)))

    line = []
    bar_s = 4 * beat_s
    rhythm = np.flatnonzero(rng.random(8) < rng.uniform(0.3, 0.9)) / 2 if rng.random() < 0.8 else np.arange(4.0)
    rhythm = rhythm if len(rhythm) else np.array([0.0])
    for bar in range(int(CLIP_S / bar_s)):
        degree = int(degrees[bar % 4])
        root = key + int(scale[degree])
        starts = bar * bar_s + rhythm * beat_s
        for start_s, next_s in zip(starts, [*starts[1:], (bar + 1) * bar_s + rhythm[0] * beat_s], strict=True):
            note = 28 + root % 12 + int(rng.choice([0, 0, 0, 7, 12, 5]))
            end_s = start_s + (next_s - start_s) * rng.uniform(0.5, 1.0)
            line.append((start_s, end_s, note))
            play(0, note, rng.normal(95, 10), start_s, end_s)
        for third in (0, 2, 4):
            note = 52 + (key + int(scale[(degree + third) % 7])) % 12
            play(1, note, rng.normal(75, 8), bar * bar_s, (bar + 1) * bar_s)
        for beat in np.flatnonzero(rng.random(8) < 0.5) / 2:
            note = 64 + (key + int(scale[rng.integers(7)])) % 12
            play(2, note, rng.normal(80, 10), bar * bar_s + beat * beat_s, bar * bar_s + (beat + 0.5) * beat_s)
    now = 0.0
    for message in mido.MidiFile(drums):
        now += message.time
        if now < CLIP_S and message.type == "note_on":
            events.append((now, message.copy(channel=9, time=0)))
    return Line(*np.array(line).T), sorted(events, key=lambda event: event[0])


def band_of(events: list[tuple[float, mido.Message]], channels: tuple[int, ...]) -> mido.MidiFile:
    """The messages of some channels as a file whose tick is a millisecond."""
    song = mido.MidiFile(ticks_per_beat=1_000)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])
    song.tracks.append(track)
    now = 0
    for time_s, message in events:
        if message.channel in channels:
            tick = round(1_000 * time_s)
            track.append(message.copy(time=tick - now))
            now = tick
    return song


def hear(samples: np.ndarray) -> Notes:
    """The notes of a bass, float32 (2, n)."""
    stream = PitchStream()
    for start in range(0, samples.shape[1], BLOCK):
        stream.push(samples[:, start : start + BLOCK])
    return detect_notes(stream.finish(), detect_onsets(compute_log_mel(Signal(samples))))


def separate_bass(samples: np.ndarray) -> np.ndarray:
    """The bass stem of a mixture."""
    stream = load_separator(4).stream()
    return np.concatenate([stream.push(samples)["bass"], stream.finish()["bass"]], axis=1)


def score_line(line: Line, heard: Notes, fold_octaves: bool = False) -> tuple[float, float, float]:
    """Precision, recall and F of notes; offsets are not asked for."""
    from mir_eval.transcription import precision_recall_f1_overlap

    if not len(heard):
        return 0.0, 0.0, 0.0
    truth, found = line.midi_note, heard.midi_note.astype(float)
    if fold_octaves:
        truth, found = truth % 12 + 36, found % 12 + 36
    precision, recall, f, _ = precision_recall_f1_overlap(
        np.stack([line.start_s, line.end_s], axis=1),
        440 * 2 ** ((truth - 69) / 12),
        np.stack([heard.time_s, heard.time_s + np.maximum(heard.duration_s, HOP_S)], axis=1),
        440 * 2 ** ((found - 69) / 12),
        onset_tolerance=ONSET_WINDOW_S,
        pitch_tolerance=PITCH_WINDOW_CENTS,
        offset_ratio=None,
    )
    return precision, recall, f


def _mean(scores: list[tuple[float, float, float]]) -> dict[str, float]:
    names = ("precision", "recall", "f")
    return {name: round(float(value), 3) for name, value in zip(names, np.mean(scores, axis=0), strict=True)}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), *map(int, sys.argv[2:])), indent=1))
