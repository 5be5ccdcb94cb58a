"""Makes the material of the pulse network: played and made-up music whose beats are known, and sounds without a pulse.

    python -m tasks.models.training.pulse_songs SOUNDS GROOVE MATERIAL --clips 560

SOUNDS is a folder with the unpacked Debian packages that README.md names; GROOVE is the Groove MIDI Dataset. Drums are
real performances, cut to other meters by dropping or repeating beats of each bar, or made-up patterns; around them, or
alone, play bass, chords and melody that know the bar. Kits and performances of the development and check sets are left
out.

Each number gives the same clip again, with the same sounds and the same FluidSynth.
"""

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from tasks.models.training.backing import make_voice
from tasks.models.training.kits import PIECES, RATE_HZ, Kit, load_kits, render_midi
from tasks.models.training.performances import OF_DEVELOPMENT_SET, PIECE_OF_KEY, Performance
from tasks.models.training.render import render_drums
from tasks.music.meter import BEATS_PER_BAR
from tasks.music.signals import Signal, compute_log_mel

CLIP_S = 32.0
KINDS = {"groove+band": 0.27, "groove": 0.13, "pattern+band": 0.18, "pattern": 0.06, "band": 0.27, "pulseless": 0.09}
METERS_PLAYED = {"4/4": 0.66, "3/4": 0.17, "5/4": 0.12, "7/8": 0.05}  # real drummers, cut
METERS_MADE = {"4/4": 0.42, "3/4": 0.19, "5/4": 0.12, "6/8": 0.20, "7/8": 0.07}
PARTS = {"6/8": 3, "7/8": 1}  # of a beat; else two
USUAL_BPM = {"4/4": 112, "3/4": 125, "5/4": 125, "6/8": 78, "7/8": 205}
SNARES = {
    "4/4": ((1, 3), (1, 3), (1, 3), (2,), (1, 2.5), (3,)),
    "3/4": ((1, 2), (2,), (1,), ()),
    "5/4": ((1, 3), (3,), (2, 4), (1, 4)),
    "6/8": ((1,), (1,), (2 / 3, 5 / 3)),
    "7/8": ((2, 4), (4,), (2, 5), (3,)),
}
BASSES = (32, 33, 34, 35, 36, 38, 39, 43, 58)
CHORDS = (*range(8), 11, 16, 17, 19, 21, 22, *range(24, 31), 46, 48, 49, 50, 52, 61, 62, 63, 80, 81, 88, 89, 90)
LEADS = (*range(6), *range(9, 14), 21, 22, 24, 25, 40, 41, 42, 52, 53, 56, 57, 60, 64, 65, 66, 68, 71, 73, 75, 80, 81)
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))

Note = tuple[float, int, float, float]  # start in seconds, MIDI note, velocity, length in seconds


@dataclass(frozen=True)
class Groove:
    """A real performance: beat (n,), MIDI note, velocity, on the grid of its metronome."""

    tempo_bpm: float
    beats_per_bar: int
    hits: np.ndarray


class Song:
    """The grid of one clip: meter, the time of each beat, swing, key and looseness."""

    def __init__(self, meter: str, tempo_bpm: float, rng: np.random.Generator) -> None:
        self.rng, self.meter = rng, meter
        self.length, self.parts = BEATS_PER_BAR[meter], PARTS.get(meter, 2)
        interval_s = np.full(int(CLIP_S * tempo_bpm / 60 * 1.6) + 24, 60 / tempo_bpm)
        feel = rng.random()
        if feel < 0.12:
            interval_s *= np.linspace(1, rng.uniform(0.75, 1.33), len(interval_s))
        elif feel < 0.30:
            interval_s *= np.exp(np.cumsum(rng.normal(0, 0.006, len(interval_s))))
        elif feel < 0.36:
            waves = np.sin(np.arange(len(interval_s)) * 2 * np.pi / rng.uniform(8, 24))
            interval_s *= 1 + rng.uniform(0.03, 0.12) * waves
        elif feel < 0.42:
            interval_s[len(interval_s) // 2 + rng.integers(-6, 6) :] *= rng.uniform(0.7, 1.4)
        times = np.concatenate([[0.0], np.cumsum(np.clip(interval_s, 60 / 260, 60 / 42))])
        first = int(rng.integers(0, self.length)) if rng.random() < 0.4 else 0  # the clip begins inside a bar
        start_s = rng.uniform(-1, 3) if rng.random() < 0.7 else 0.0
        self.beat_s = times - times[first] + start_s
        straight = meter not in ("4/4", "3/4")
        self.swing = 0.5 if straight else float(rng.choice([0.5, 0.5, 0.5, 0.5, 0.56, 0.6, 0.64, 0.667]))
        self.loose_s = float(rng.choice([0, 0, 0.004, 0.008, 0.012]))
        self.bars = len(self.beat_s) // self.length - 1
        self.key, self.scale = int(rng.integers(12)), SCALES[int(rng.random() < 0.4)]

    def at(self, beat: float) -> float:
        """Seconds of a place on the grid, swung and loosened."""
        whole, part = np.floor(beat), beat % 1
        early, late = part * self.swing / 0.5, self.swing + (part - 0.5) * (1 - self.swing) / 0.5
        part = early if part < 0.5 else late
        exact = np.interp(whole + part, np.arange(len(self.beat_s)), self.beat_s)
        return float(exact + self.rng.normal(0, self.loose_s))

    def grid(self) -> np.ndarray:
        """The places of a bar, in beats."""
        return np.arange(self.length * self.parts) / self.parts

    def note_of(self, degree: int, octave: int) -> int:
        return 12 * octave + self.key + self.scale[degree % 7] + 12 * (degree // 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("groove", type=Path)
    parser.add_argument("material", type=Path)
    parser.add_argument("--clips", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="Number of the first clip; each number is another clip.")
    options = parser.parse_args()
    options.material.mkdir(parents=True, exist_ok=True)
    kits = load_kits(options.sounds, with_development_kits=False)
    fonts = [next(options.sounds.glob(f"**/{name}.sf2")) for name in ("FluidR3_GM", "TimGM6mb")]
    grooves = load_grooves(options.groove)
    for index in range(options.first, options.first + options.clips):
        rng = np.random.default_rng([1, index])
        samples, beat_s, position, meter = make_clip(kits, fonts, grooves, rng)
        mel = compute_log_mel(Signal(samples[None].astype(np.float32))).values.astype(np.float16)
        np.savez(options.material / f"{index:05d}.npz", mel=mel, beats=beat_s, pos=position, meter=meter)


def load_grooves(folder: Path) -> list[Groove]:
    """Performances of at least 12 s that lie on their metronome's grid and that no development file plays."""
    grooves = []
    with open(folder / "info.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["beat_type"] == "beat" and float(row["duration"]) >= 12]
    for row in rows:
        if row["midi_filename"] in OF_DEVELOPMENT_SET:
            continue
        song, tick, hits = mido.MidiFile(folder / row["midi_filename"]), 0, []
        for message in mido.merge_tracks(song.tracks):
            tick += message.time
            if message.type == "note_on" and message.velocity:
                hits.append((tick / song.ticks_per_beat, message.note, message.velocity))
        hits = np.array(hits)
        loud = hits[hits[:, 2] > 50, 0]
        fits = max((abs(np.exp(2j * np.pi * parts * loud).mean()) for parts in (2, 3, 4)), default=0)
        if len(loud) >= 20 and fits >= 0.4:
            grooves.append(Groove(float(row["bpm"]), int(row["time_signature"][0]), hits))
    return grooves


def make_clip(
    kits: list[Kit], fonts: list[Path], grooves: list[Groove], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Samples (n,), the times of the beats, their places in the bar, and the meter, "" without a pulse."""
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "pulseless":
        return master(make_pulseless(kits, fonts, rng), rng), np.zeros(0), np.zeros(0, int), ""
    groove = grooves[rng.integers(len(grooves))]
    chances = METERS_PLAYED if kind.startswith("groove") else METERS_MADE
    meter = str(rng.choice(list(chances), p=list(chances.values())))
    if kind.startswith("groove"):
        meter = meter if groove.beats_per_bar == 4 else f"{groove.beats_per_bar}/4"
        tempo_bpm = groove.tempo_bpm * rng.uniform(0.88, 1.14)
        if meter == "7/8":
            meter, tempo_bpm = (meter, 2 * tempo_bpm) if tempo_bpm < 135 else ("4/4", tempo_bpm)
    else:
        tempo_bpm = float(np.clip(USUAL_BPM[meter] * np.exp(rng.normal(0, 0.27)), 45, 270))
    song = Song(meter, tempo_bpm, rng)
    drums = play_groove(song, groove) if kind.startswith("groove") else make_pattern(song)
    samples = np.zeros(round(CLIP_S * RATE_HZ))
    if kind != "band":
        samples += _level(render_drums(_to_performance(drums), kits, CLIP_S, rng)[0].mean(axis=0))
    if kind.endswith("band"):
        samples += _level(render_band(make_band(song), fonts, rng)) * 10 ** rng.uniform(-0.6, 0.5)
    heard = (song.beat_s >= -0.02) & (song.beat_s < CLIP_S)
    return master(samples, rng), song.beat_s[heard], np.flatnonzero(heard) % song.length + 1, meter


def play_groove(song: Song, groove: Groove) -> list[Note]:
    """The performance from a random bar on, each bar cut or lengthened to the meter of the song."""
    rng, own = song.rng, groove.beats_per_bar
    last = int(groove.hits[-1, 0] // own)
    skip = int(rng.integers(0, max(1, last - song.bars)))
    repeat_middle = rng.random() < 0.5
    notes = []
    for beat, note, velocity in groove.hits:
        bar, place = int(beat // own) - skip, beat % own
        if bar < 0:
            continue
        places = [place]
        if song.meter == "7/8":
            places = [2 * place] if place < 3.47 else []
        elif song.meter == "3/4" and own == 4:
            places = [place] if place < 2.97 else []
        elif song.meter == "5/4" and own == 4:
            again = (
                place + 2 if repeat_middle and 2 <= place < 3 else place + 4 if not repeat_middle and place < 1 else 0
            )
            places = [place, again] if again else [place]
        for at in places:
            time_s = np.interp(bar * song.length + at, np.arange(len(song.beat_s)), song.beat_s)
            notes.append((float(time_s), int(note), velocity, 0.1))
    return notes


def make_pattern(song: Song) -> list[Note]:
    """Hi-hats on the grid, a kick on the downbeat and some elsewhere, snares in the meter's usual places, fills."""
    rng, grid = song.rng, song.grid()
    kicks = [0.0, *(place for place in grid[1:] if rng.random() < 0.16)]
    if song.meter in ("4/4", "3/4") and rng.random() < 0.25:
        kicks = list(range(song.length))
    snares = SNARES[song.meter][rng.integers(len(SNARES[song.meter]))]
    hat, every = int(rng.choice([42, 42, 42, 44, 51, 46])), rng.choice(["all", "all", "beats", "offbeats"])
    phrase = int(rng.choice([4, 8, 8, 16]))
    notes = []
    for bar in range(song.bars):
        fill = bar % phrase == phrase - 1 and rng.random() < 0.6
        hits = [(place, 36, 100) for place in kicks]
        if not fill:
            hits += [(place, 38, 105) for place in snares]
        for place in grid:
            on_beat = place % 1 == 0
            if every == "all" or (every == "beats") == on_beat:
                hits.append((place, hat, 75 if on_beat else 55))
            if fill and place >= song.length / 2 and rng.random() < 0.75:
                hits.append((place, int(rng.choice([38, 48, 45, 43])), 95))
        if bar % phrase == 0 and rng.random() < 0.6:
            hits.append((0.0, 49, 100))
        for place, note, velocity in hits:
            if rng.random() < 0.96:
                notes.append((song.at(bar * song.length + place), note, velocity * rng.uniform(0.85, 1.1), 0.1))
    return notes


def make_band(song: Song) -> list[tuple[tuple[int, ...], list[Note]]]:
    """Bass, chords and melody: (programs to choose from, notes) each. Chords change with the bar."""
    rng, length = song.rng, song.length
    halves = 2 if length in (2, 4) and rng.random() < 0.2 else 1
    loop = [0, *rng.choice([3, 4, 5, 1, 2, 0, 3, 4], 3)]
    chords = [int(loop[index % len(loop)]) for index in range(song.bars * halves)]

    def chord_at(bar: int, place: float) -> int:
        return chords[bar * halves + int(halves == 2 and place >= length / 2)]

    def play(places: list[float], notes_at: Callable[[int, float], list[int]], velocity: float) -> list[Note]:
        notes = []
        for bar in range(song.bars):
            for place, following in zip(places, [*places[1:], length], strict=True):
                time_s, end_s = song.at(bar * length + place), song.at(bar * length + following)
                loud = rng.normal(velocity, 8) + (8 if place == 0 else 0)
                notes += [(time_s, note, loud, (end_s - time_s) * rng.uniform(0.5, 1)) for note in notes_at(bar, place)]
        return notes

    grid = list(song.grid())
    some = [0.0, *(place for place in grid[1:] if rng.random() < 0.4)]
    on_beats = [float(beat) for beat in range(length)]
    bass_places = [[0.0], [0.0], some, on_beats, grid, [0.0, length / 2] if length in (2, 4) else [0.0]][
        rng.integers(6)
    ]
    off_beats = [beat + (2 / 3 if song.parts == 3 else 0.5) for beat in on_beats]
    chord_places = [[0.0], on_beats, off_beats, some, grid, on_beats[1:]][rng.integers(6)]
    melody_places = [place for place in grid if rng.random() < rng.choice([0.5, 0.75, 0.95])] or [0.0]

    def bass(bar: int, place: float) -> list[int]:
        return [song.note_of(chord_at(bar, place) + (int(rng.choice([0, 0, 4, 2])) if place else 0), 3)]

    def chord(bar: int, place: float) -> list[int]:
        return [song.note_of(chord_at(bar, place) + third, 4) for third in (0, 2, 4)]

    def melody(bar: int, place: float) -> list[int]:
        return [song.note_of(chord_at(bar, place) + 7 + int(rng.choice([0, 2, 4, 1, 3, 5])), 4)]

    band = [(CHORDS, play(chord_places, chord, 70))]
    if rng.random() < 0.85:
        band.append((BASSES, play(bass_places, bass, 95)))
    if rng.random() < 0.8:
        band.append((LEADS, play(melody_places, melody, 88)))
    return band


def render_band(
    band: list[tuple[tuple[int, ...], list[Note]]], fonts: list[Path], rng: np.random.Generator
) -> np.ndarray:
    """Play the parts with one sound font, float (n,)."""
    song, events = mido.MidiFile(ticks_per_beat=1_000), []
    for channel, (programs, notes) in enumerate(band):
        events.append((0, mido.Message("program_change", channel=channel, program=int(rng.choice(programs)))))
        for time_s, note, velocity, length_s in notes:
            if 0 <= time_s < CLIP_S:
                said = {"channel": channel, "note": int(np.clip(note, 20, 108))}
                loud = int(np.clip(velocity, 20, 127))
                events.append((round(1_000 * time_s), mido.Message("note_on", velocity=loud, **said)))
                events.append((round(1_000 * (time_s + max(0.03, length_s))), mido.Message("note_off", **said)))
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])
    song.tracks.append(track)
    now = 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        track.append(message.copy(time=tick - now))
        now = tick
    samples = render_midi(song, fonts[int(rng.random() < 0.4)]).mean(axis=0)
    count = round(CLIP_S * RATE_HZ)
    return np.pad(samples, (0, max(0, count - len(samples))))[:count]


def make_pulseless(kits: list[Kit], fonts: list[Path], rng: np.random.Generator) -> np.ndarray:
    """Noise, a voice, long chords, free playing, hits at random times, one hit, or nearly nothing, float (n,)."""
    count = round(CLIP_S * RATE_HZ)
    kind = rng.choice(["noise", "voice", "voice", "pads", "free", "hits", "one hit", "silence"])
    if kind == "noise":
        hz = np.fft.rfftfreq(count, 1 / RATE_HZ) + 20
        return np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) / hz ** rng.uniform(0, 1), count)
    if kind == "voice":
        return make_voice(CLIP_S, rng).mean(axis=0)
    if kind in ("pads", "free"):
        notes, time_s = [], rng.uniform(0, 2)
        while time_s < CLIP_S:
            length_s = rng.uniform(2, 8) if kind == "pads" else rng.choice([0.2, 0.5, 1.0]) * rng.uniform(0.5, 3)
            notes += [(time_s, int(note), 70, length_s) for note in rng.integers(40, 80, rng.integers(1, 5))]
            time_s += length_s
        programs = tuple(range(88, 96)) if kind == "pads" else (0, 24, 40, 46, 73)
        return render_band([(programs, notes)], fonts, rng)
    if kind in ("hits", "one hit"):
        times = np.sort(rng.uniform(0, CLIP_S, int(rng.integers(15, 90)) if kind == "hits" else 1))
        notes = [(float(time_s), int(rng.choice([36, 38, 42, 46, 49, 45])), 90, 0.1) for time_s in times]
        return render_drums(_to_performance(notes), kits, CLIP_S, rng)[0].mean(axis=0)
    return rng.standard_normal(count) * 10 ** rng.uniform(-7, -4)


def master(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reverberation, saturation, noise, a low-pass and a level, each sometimes."""
    if rng.random() < 0.4:
        tail = round(rng.uniform(0.1, 0.9) * RATE_HZ)
        room = rng.standard_normal(tail) * np.exp(-6 * np.arange(tail) / tail)
        room *= rng.uniform(0.1, 0.5) / np.sqrt((room**2).sum())
        room[0] += 1
        samples = fftconvolve(samples, room)[: len(samples)]
    samples = samples / (np.abs(samples).max() + 1e-9)
    if rng.random() < 0.5:
        drive = rng.uniform(1, 6)
        samples = np.tanh(drive * samples) / np.tanh(drive)
    if rng.random() < 0.3:
        samples = samples + rng.standard_normal(len(samples)) * 10 ** rng.uniform(-4, -1.7)
    if rng.random() < 0.3:
        samples = sosfilt(butter(4, rng.uniform(3_500, 15_000), fs=RATE_HZ, output="sos"), samples)
    return samples * rng.uniform(0.15, 1)


def _to_performance(notes: list[Note]) -> Performance:
    kept = sorted(
        (time_s, PIECE_OF_KEY[note], velocity)
        for time_s, note, velocity, _ in notes
        if note in PIECE_OF_KEY and 0 <= time_s < CLIP_S - 0.05
    )
    times, pieces, velocities = zip(*kept, strict=True) if kept else ((), (), ())
    indices = np.array([PIECES.index(piece) for piece in pieces], int)
    return Performance(np.array(times, float), indices, np.clip(np.array(velocities, float), 1, 127).astype(int))


def _level(samples: np.ndarray) -> np.ndarray:
    return 0.1 * samples / (np.sqrt(np.mean(samples**2)) + 1e-9)


if __name__ == "__main__":
    main()
