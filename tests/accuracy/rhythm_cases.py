"""Rhythms of our own whose beats are known and hard to follow, played by a tiny synthesiser, and sounds without one.

The speech is read out by espeak-ng (apt-get install --no-install-recommends espeak-ng).
"""

import subprocess
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mido
import numpy as np
import soundfile
from scipy.signal import lfilter, resample_poly

from tasks.models.training.performances import OF_DEVELOPMENT_SET, PIECE_OF_KEY
from tasks.music.signals import SAMPLE_RATE_HZ

Stroke = tuple[float, str, float]  # seconds or beats, drum, level


@dataclass(frozen=True)
class Case:
    """The beats (n,) in seconds, their places in the bar from 1, the meter, and the strokes."""

    beat_s: np.ndarray
    beat_in_bar: np.ndarray
    meter: str
    strokes: list[Stroke]


def make_cases() -> dict[str, Case]:
    """Patterns of one bar whose tempo ramps, halves, swings or wanders, or that begin inside a bar."""
    rng = np.random.default_rng(4)
    steady = np.full(64, 0.5)
    wander = 0.55 * np.exp(np.cumsum(rng.normal(0, 0.02, 220)) - 0.1 * np.sin(np.arange(220) / 9))
    intervals = {
        "steady": (steady, 4, "4/4", 0, {}),
        "ramp from 90 to 140 bpm": (60 / np.linspace(90, 140, 80), 4, "4/4", 0, {}),
        "ramp from 140 to 100 bpm": (60 / np.linspace(140, 100, 80), 4, "4/4", 0, {}),
        "half time": (np.full(72, 60 / 140), 4, "4/4", 0, {"snares": (2,)}),
        "pick-up of one beat": (steady, 4, "4/4", 3, {}),
        "pick-up of two beats": (steady, 4, "4/4", 2, {}),
        "swing": (np.full(64, 60 / 132), 4, "4/4", 0, {"swing": 2 / 3}),
        "waltz": (np.full(72, 60 / 150), 3, "3/4", 0, {"snares": (1, 2)}),
        "five": (np.full(70, 60 / 140), 5, "5/4", 0, {"snares": (1, 3)}),
        "six-eight": (np.full(48, 60 / 72), 2, "6/8", 0, {"snares": (1,), "parts": 3}),
        "seven-eight": (np.full(112, 60 / 220), 7, "7/8", 0, {"snares": (2, 4), "parts": 1}),
        "rubato, two minutes": (wander, 4, "4/4", 0, {}),
    }
    cases = {}
    for name, (interval_s, beats_per_bar, meter, first, pattern) in intervals.items():
        beat_s = 0.4 + np.concatenate([[0.0], np.cumsum(interval_s)])
        position = (np.arange(len(beat_s)) + first) % beats_per_bar + 1
        cases[name] = Case(beat_s, position, meter, list_strokes(beat_s, position, rng, **pattern))
    return cases


def play_grooves(groove_path: Path) -> dict[str, Case]:
    """Real drummers, at most 30 s each, whose metronome is bent: steady, ramps, rubato; and with a pick-up.

    Only performances that no network of ours was trained on.
    """
    cases = {}
    for name in OF_DEVELOPMENT_SET:
        own, metronome_bpm, strokes = read_groove(groove_path / name)
        count = min(int(30 * metronome_bpm / 60), int(strokes[-1][0]) + 1) // own * own
        whole = 60.0 / metronome_bpm
        wave = np.sin(np.arange(count) / 7)
        bends = {
            "steady": np.full(count, whole),
            "faster": whole / np.linspace(0.85, 1.2, count),
            "slower": whole / np.linspace(1.2, 0.85, count),
            "rubato": whole * (1 + 0.08 * wave),
            "pick-up": np.full(count, whole),
        }
        for bend, interval_s in bends.items():
            beat_s = 0.3 + np.concatenate([[0.0], np.cumsum(interval_s)])
            skipped = own - 1 if bend == "pick-up" else 0
            index = np.arange(skipped, count + 1)
            shift_s = beat_s[skipped] - 0.3
            bent = [
                (float(np.interp(beat, np.arange(count + 1), beat_s)) - shift_s, drum, level)
                for beat, drum, level in strokes
                if skipped - 0.1 <= beat <= count
            ]
            cases[f"{Path(name).stem}, {bend}"] = Case(beat_s[index] - shift_s, index % own + 1, f"{own}/4", bent)
    return cases


def make_pulseless(duration_s: float = 30.0) -> dict[str, np.ndarray]:
    """Speech in languages that the network was not trained on, noise, rain, applause, slow chords, a single hit."""
    rng = np.random.default_rng(6)
    count = round(duration_s * SAMPLE_RATE_HZ)
    t = np.arange(count) / SAMPLE_RATE_HZ
    sounds = {f"speech, {voice}": read_out(voice, count) for voice in ("en-gb-scotland", "pt", "nl", "da", "hu", "el")}
    noise = rng.standard_normal(count)
    sounds["white noise"] = 0.1 * noise
    sounds["brown noise"] = 0.02 * lfilter([1.0], [1.0, -0.995], noise)
    sounds["waves"] = 0.1 * noise * (0.5 + 0.5 * np.sin(2 * np.pi * 0.09 * t)) ** 2
    for name, a_second in (("rain", 60), ("applause", 400)):
        clicks = np.zeros(count)
        clicks[rng.integers(0, count, int(a_second * duration_s))] = rng.uniform(0.1, 1, int(a_second * duration_s))
        sounds[name] = 0.1 * lfilter([1.0, -0.6], [1.0, -0.9], clicks * rng.standard_normal(count))
    for name, fade in (("slow chords", 0.5), ("drone", 0.03)):
        swells = [1 + np.sin(2 * np.pi * fade * rng.uniform(0.1, 0.4) * t + rng.uniform(0, 6)) for _ in range(6)]
        tones = zip(swells, (110, 165, 220, 277, 330, 440), strict=True)
        sounds[name] = 0.03 * sum(swell * np.sin(2 * np.pi * hz * t) for swell, hz in tones)
    sounds["single hit"] = play([(3.0, "snare", 1.0)], duration_s)
    sounds["half a second"] = play([(0.1, "kick", 1.0)], 0.0)
    return {name: samples.astype(np.float32) for name, samples in sounds.items()}


def read_out(voice: str, count: int) -> np.ndarray:
    text = " ".join(
        f"Numbers are read out, one after another, without a beat: {n * n}, and {7 * n}." for n in range(3, 40)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        subprocess.run(["espeak-ng", "-v", voice, "-w", path, text], check=True, stdout=subprocess.DEVNULL)
        samples, rate_hz = soundfile.read(path)
    samples = resample_poly(samples, SAMPLE_RATE_HZ // 50, rate_hz // 50)[:count]
    return np.pad(samples, (0, count - len(samples)))


def read_groove(path: Path) -> tuple[int, float, list[Stroke]]:
    """Beats a bar, beats a minute and strokes, in beats, of a performance of the Groove MIDI Dataset."""
    _, _, metronome_bpm, _, meter = path.stem.split("_")
    song, tick, strokes = mido.MidiFile(path), 0, []
    for message in mido.merge_tracks(song.tracks):
        tick += message.time
        if message.type == "note_on" and message.velocity and message.note in PIECE_OF_KEY:
            piece = PIECE_OF_KEY[message.note]
            drum = "kick" if piece == "kick" else "snare" if piece.startswith(("snare", "tom")) else "hihat"
            strokes.append((tick / song.ticks_per_beat, drum, message.velocity / 127))
    return int(meter.split("-")[0]), float(metronome_bpm), strokes


def list_strokes(
    beat_s: np.ndarray,
    position: np.ndarray,
    rng: np.random.Generator,
    snares: tuple[int, ...] = (1, 3),
    parts: int = 2,
    swing: float = 0.5,
) -> list[Stroke]:
    """Kick on the downbeat and now and then elsewhere, snares on these beats (from 0), hi-hats on all parts."""
    strokes = []
    for (now, following), place in zip(pairwise(beat_s), position[:-1] - 1, strict=True):
        for part in range(parts):
            share = swing if parts == 2 and part == 1 else part / parts
            time_s = now + share * (following - now) + rng.normal(0, 0.004)
            strokes.append((time_s, "hihat", 0.8 if part == 0 else 0.5))
            if part > 0 and place == 0 and rng.random() < 0.5:
                strokes.append((time_s, "kick", 0.7))
        if place in snares:
            strokes.append((now + rng.normal(0, 0.004), "snare", 0.9))
        elif place == 0 or rng.random() < 0.2:
            strokes.append((now + rng.normal(0, 0.004), "kick", 1.0))
    return strokes


def play(strokes: list[Stroke], duration_s: float) -> np.ndarray:
    """Falling sines and bursts of noise, float32 (n,)."""
    t = np.arange(round(0.3 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(1).standard_normal(len(t))
    sounds = {
        "kick": np.sin(2 * np.pi * (48 * t + 4 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.09),
        "snare": 0.3 * noise * np.exp(-t / 0.06) + 0.3 * np.sin(2 * np.pi * 185 * t) * np.exp(-t / 0.07),
        "hihat": 0.12 * np.diff(noise, prepend=0.0) * np.exp(-t / 0.025),
    }
    samples = np.zeros(round((duration_s + 0.5) * SAMPLE_RATE_HZ), np.float32)
    for time_s, drum, level in strokes:
        start = max(0, round(time_s * SAMPLE_RATE_HZ))
        samples[start : start + len(t)] += (0.4 * level * sounds[drum])[: len(samples) - start]
    return samples
