"""Music without drums: arrangements played by sound fonts, orchestral recordings, and a rough likeness of a voice."""

from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import soundfile
from scipy.signal import butter, lfilter, resample_poly, sosfilt

from tasks.models.training.kits import RATE_HZ, render_midi

# Calm pieces of wesnoth-1.16-music; the battle music has percussion.
CALM_PIECES = (
    "elf-land",
    "elvish-theme",
    "journeys_end",
    "love_theme",
    "nunc_dimittis",
    "return_to_wesnoth",
    "revelation",
    "sad",
    "silvan_sanctuary",
    "transience",
    "wanderer",
)
_GAP_S = 3.0  # between the clips of one rendered song, for tails to end

_BASSES = range(32, 40)
_CHORDS = (*range(0, 8), *range(16, 32), *range(48, 55), *range(61, 64), *range(80, 96))
_SLAPPED = (32, 33, 34, 36, 36, 37, 37, 38)
_PLUCKED = (0, 6, 7, 11, 12, 13, 15, 24, 25, 27, 28, 28, 45, 45, 46, 47, 55, 104, 105, 106, 107, 108, 114)
_LEADS = (0, 4, 11, 22, 24, 25, 26, 27, 29, 30, 40, 42, 52, 53, 56, 57, 60, 65, 66, 68, 71, 73, 75, 80, 81, 82)


def render_arrangements(
    hit_times_s: list[np.ndarray],
    duration_s: float,
    sound_font: Path,
    rng: np.random.Generator,
    arrange: Callable[[np.ndarray, float, np.random.Generator], list[tuple[mido.Message, float]]] | None = None,
) -> list[np.ndarray]:
    """One clip of bass, chords and melody, or what `arrange` writes, for each list of hit times: float32 (2, n).

    Many notes begin where a drum is hit, as musicians play together; the others lie on a grid of their own.
    """
    song = mido.MidiFile(ticks_per_beat=1_000)  # at 60 bpm a tick is a millisecond
    song.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)]))
    events = []
    for index, times_s in enumerate(hit_times_s):
        for message, time_s in (arrange or _arrangement)(times_s, duration_s, rng):
            events.append((round(1_000 * (index * (duration_s + _GAP_S) + time_s)), message))
    events.sort(key=lambda event: event[0])
    track = mido.MidiTrack()
    song.tracks.append(track)
    now = 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    samples = render_midi(song, sound_font)
    count, step = round(duration_s * RATE_HZ), round((duration_s + _GAP_S) * RATE_HZ)
    samples = np.pad(samples, ((0, 0), (0, max(0, len(hit_times_s) * step - samples.shape[1]))))
    return [samples[:, i * step : i * step + count].copy() for i in range(len(hit_times_s))]


def _arrangement(times_s: np.ndarray, duration_s: float, rng: np.random.Generator) -> list[tuple[mido.Message, float]]:
    root, scale = int(rng.integers(0, 12)), np.array([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10]][rng.integers(2)])
    beat_s = 60 / rng.uniform(70, 170)
    grid_s = np.arange(0, duration_s, beat_s / rng.choice([1, 2, 4]))
    chords = scale[rng.integers(0, 7, 32)]

    def degree_at(time_s: float) -> int:
        return int(chords[int(time_s / (4 * beat_s)) % len(chords)])

    def starts(share: float) -> np.ndarray:
        """Some of the hits' times and some of the grid's."""
        pool = times_s if len(times_s) and rng.random() < 0.6 else grid_s
        chosen = np.sort(pool[rng.random(len(pool)) < share])
        return chosen[np.diff(chosen, prepend=-1) > 0.08]

    out: list[tuple[mido.Message, float]] = []

    def play(channel: int, start_s: float, length_s: float, note: int, velocity: float) -> None:
        note, end_s = int(np.clip(note, 20, 108)), min(start_s + length_s, duration_s + 0.5)
        loud = int(np.clip(velocity, 20, 127))
        out.append((mido.Message("note_on", channel=channel, note=note, velocity=loud), start_s))
        out.append((mido.Message("note_off", channel=channel, note=note), max(end_s, start_s + 0.03)))

    def set_up(channel: int, programs: tuple[int, ...] | range, loudest: int = 127) -> None:
        program, volume = int(rng.choice(programs)), int(rng.integers(50, loudest))
        out.append((mido.Message("control_change", channel=channel, control=120), 0.0))
        out.append((mido.Message("program_change", channel=channel, program=program), 0.0))
        out.append((mido.Message("control_change", channel=channel, control=7, value=volume), 0.0))
        out.append((mido.Message("control_change", channel=channel, control=10, value=int(rng.integers(20, 108))), 0.0))

    if rng.random() < 0.9:
        set_up(0, _BASSES)
        onsets = starts(rng.uniform(0.2, 0.9))
        for start_s, next_s in zip(onsets, [*onsets[1:], duration_s], strict=True):
            jump = int(rng.choice([0, 0, 0, 7, 12]))
            length_s = (next_s - start_s) * rng.uniform(0.4, 1)
            play(0, start_s, length_s, 28 + (root + degree_at(start_s)) % 12 + jump, rng.normal(95, 12))
    for channel in range(1, 1 + int(rng.integers(1, 4))):
        set_up(channel, _CHORDS)
        length_s = rng.choice([0.1, 0.4, 2.0])
        for start_s in starts(rng.uniform(0.05, 0.6)):
            base, loud = 52 + (root + degree_at(start_s)) % 12, rng.normal(80, 15)
            for interval in (0, int(rng.choice([3, 4])), 7)[: int(rng.integers(1, 4))]:
                play(channel, start_s, length_s * rng.uniform(0.6, 1.2), base + interval, loud)
    for channel in range(4, 4 + int(rng.integers(0, 3))):
        set_up(channel, _LEADS)
        step = int(rng.integers(0, 7))
        for start_s in starts(rng.uniform(0.2, 0.8)):
            step = int(np.clip(step + rng.integers(-2, 3), -3, 14))
            note = 60 + root + int(scale[step % 7]) + 12 * (step // 7)
            play(channel, start_s, rng.uniform(0.08, 0.8), note, rng.normal(90, 15))
    return out


def pluck(times_s: np.ndarray, duration_s: float, rng: np.random.Generator) -> list[tuple[mido.Message, float]]:
    """Hard, short notes of what passes for drums: slapped basses, muted guitars, plucked strings, mallets."""
    step_s = 60 / rng.uniform(75, 150) / rng.choice([2, 4])
    out: list[tuple[mido.Message, float]] = []
    for channel in range(int(rng.integers(1, 4))):
        low = channel == 0 and rng.random() < 0.7
        program = int(rng.choice(_SLAPPED if low else _PLUCKED))
        lowest, highest = (28, 52) if low else (45, 88)
        centre, hard, pause = rng.uniform(lowest, highest), rng.uniform(85, 125), rng.uniform(0.1, 0.6)
        for control, value in ((120, 0), (7, int(rng.integers(70, 127))), (10, int(rng.integers(20, 108)))):
            out.append((mido.Message("control_change", channel=channel, control=control, value=value), 0.0))
        out.append((mido.Message("program_change", channel=channel, program=program), 0.0))
        together = len(times_s) > 8 and rng.random() < 0.3
        for start_s in times_s if together else np.arange(0, duration_s - 0.2, step_s):
            if rng.random() < pause:
                continue
            note = int(np.clip(centre + rng.normal(0, 4), 24, 100))
            velocity = int(np.clip(rng.normal(hard, 15), 30, 127))
            notes = (note, note + 7) if rng.random() < 0.15 else (note,)
            for one in notes:
                out.append((mido.Message("note_on", channel=channel, note=one, velocity=velocity), start_s))
                end_s = start_s + step_s * rng.uniform(0.2, 0.95)
                out.append((mido.Message("note_off", channel=channel, note=one), end_s))
    return out


def load_recordings(root: Path) -> list[np.ndarray]:
    """The calm orchestral recordings, float32 (2, n) each."""
    recordings = []
    for name in CALM_PIECES:
        samples, rate_hz = soundfile.read(next(root.glob(f"**/music/{name}.ogg")), dtype="float32", always_2d=True)
        if rate_hz != RATE_HZ:
            samples = resample_poly(samples, RATE_HZ // 100, rate_hz // 100, axis=0)
        recordings.append(np.ascontiguousarray(samples.T[[0, -1]], dtype=np.float32))
    return recordings


def make_voice(duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Sung or spoken syllables: gliding harmonics through formants, with hisses and pops between, float32 (2, n)."""
    count = round(duration_s * RATE_HZ)
    voice = np.zeros(count)
    start_s = rng.uniform(0, 1)
    base_hz = rng.uniform(90, 300)
    while start_s < duration_s - 0.7:
        length_s = rng.uniform(0.08, 0.6)
        syllable = _vowel(length_s, base_hz * 2 ** (rng.integers(-5, 8) / 12), rng)
        if rng.random() < 0.6:
            consonant = _consonant(rng)
            place = round(start_s * RATE_HZ)
            voice[place : place + len(consonant)] += rng.uniform(0.1, 0.8) * consonant
            start_s += 0.6 * len(consonant) / RATE_HZ
        place = round(start_s * RATE_HZ)
        voice[place : place + len(syllable)] += syllable[: count - place]
        start_s += length_s + rng.choice([0.0, rng.uniform(0, 0.8)])
    peak = np.abs(voice).max() + 1e-9
    return np.stack([voice, voice]).astype(np.float32) / peak


def _vowel(length_s: float, hz: float, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    glide = 1 + rng.uniform(-0.1, 0.1) * t / length_s + 0.01 * np.sin(2 * np.pi * 5.5 * t)
    phase = np.cumsum(hz * glide) / RATE_HZ
    pulses = 2 * (phase % 1) - 1 + 0.05 * rng.standard_normal(len(t))
    for low, high in ((300, 900), (900, 2_400), (2_300, 3_300)):
        centre_hz, width_hz = rng.uniform(low, high), rng.uniform(60, 200)
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        poles = [1, -2 * radius * np.cos(2 * np.pi * centre_hz / RATE_HZ), radius**2]
        pulses = pulses + 4 * lfilter([1 - radius], poles, pulses)
    edge = max(1, min(len(t) // 2, round(rng.uniform(0.01, 0.06) * RATE_HZ)))
    envelope = np.minimum(1, np.minimum(np.arange(len(t)), np.arange(len(t))[::-1]) / edge)
    return pulses * envelope / (np.abs(pulses).max() + 1e-9)


def _consonant(rng: np.random.Generator) -> np.ndarray:
    hiss = rng.random() < 0.6
    low_hz = rng.uniform(3_000, 7_000) if hiss else rng.uniform(300, 3_000)
    length_s, rise_s = (rng.uniform(0.05, 0.2), rng.uniform(0.01, 0.05)) if hiss else (rng.uniform(0.01, 0.04), 0.002)
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    noise = sosfilt(
        butter(2, [low_hz, 3 * low_hz if low_hz < 6_000 else 18_000], "bandpass", fs=RATE_HZ, output="sos"),
        rng.standard_normal(len(t)),
    )
    noise *= np.minimum(1, np.minimum(t, t[::-1]) / rise_s)
    return noise / (np.abs(noise).max() + 1e-9)
