"""Every sound of the pulse network's material as a spectrogram of its own, so that music is a sum of spectrograms.

A drum or a note is rendered once; a clip then costs milliseconds, and a day of music fits into minutes. What a sum of
magnitudes cannot show, such as beating between two partials, does not tell when a beat falls.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
import soundfile
from scipy.signal import resample_poly

from tasks.models.training.backing import make_voice
from tasks.models.training.drum_synth import load_drum_synth_kits
from tasks.models.training.kits import RATE_HZ, Kit, load_kits, load_more_kits, make_kit, render_midi
from tasks.models.training.odd_kits import make_odd_kits
from tasks.music.signals import LOG_GAIN, Signal, compute_log_mel

LEAD_IN = 3  # frames before the attack in which a window already hears it
LOUDNESS_POWER = 1.6  # magnitudes add as powers of this: between one partial (1) and noise (2)
NOTE_FRAMES = 120  # a key is held for this long; longer notes fade on as they did
NOTES = range(26, 100, 2)
DRUM_FRAMES = 120
FORMULA_KITS = 40
SEED_OF_ODD_KITS = 12
VOICE_S = 30.0
VOICES = 40

BASSES = (32, 33, 34, 35, 36, 38, 39, 43, 58)
CHORDS = (*range(8), 11, 16, 17, 19, 21, 22, *range(24, 31), 46, 48, 49, 50, 52, 61, 62, 63, 80, 81, 88, 89, 90)
LEADS = (*range(6), *range(9, 14), 21, 22, 24, 25, 40, 41, 42, 52, 53, 56, 57, 60, 64, 65, 66, 68, 71, 73, 75, 80, 81)
PADS = (48, 49, 50, 52, 88, 89, 90, 91, 92, 94, 95)
PROGRAMS = tuple(sorted({*BASSES, *CHORDS, *LEADS, *PADS}))
_VELOCITY = 90
_HELD_S, _STEP_S = NOTE_FRAMES / 100, 1.6


@dataclass(frozen=True)
class SoundBank:
    """Sounds as summable spectrograms, float32 (MEL_BANDS, frames), from LEAD_IN frames before the attack on.

    Attributes:
        kits: By kit and piece the drums to choose from; each is its layers, softest first, each of them twice: on a
            frame and half a frame late.
        notes: By program (len(NOTES), MEL_BANDS, NOTE_FRAMES), keys struck alike; each program is of one of two fonts.
        voices: Of VOICE_S, speech and a likeness of singing.
    """

    kits: list[dict[str, list[list[tuple[np.ndarray, np.ndarray]]]]]
    notes: dict[int, np.ndarray]
    voices: list[np.ndarray]


def load_sounds(sounds: Path, cache: Path, *, more_kits: bool = False, odd_kits: bool = False) -> SoundBank:
    """Render all sounds; the notes, which take minutes, are kept in `cache` (.npz)."""
    fonts = [next(sounds.glob(f"**/{name}.sf2")) for name in ("FluidR3_GM", "TimGM6mb")]
    if not cache.exists():
        np.savez(cache, **{str(n): _render_notes(fonts[i % 2], n) for i, n in enumerate(PROGRAMS)})
    with np.load(cache) as file:
        notes = {int(name): file[name] for name in file.files}
    rng = np.random.default_rng(7)
    kits = [*load_kits(sounds, with_development_kits=False), *(make_kit(rng) for _ in range(FORMULA_KITS))]
    kits += load_more_kits(sounds) if more_kits else []
    kits += load_drum_synth_kits(sounds) + make_odd_kits(SEED_OF_ODD_KITS) if odd_kits else []
    voices = [_render_voice(number, np.random.default_rng([8, number])) for number in range(VOICES)]
    return SoundBank([_render_kit(kit) for kit in kits], notes, voices)


def to_summable(samples: np.ndarray) -> np.ndarray:
    """The spectrogram of mono samples (n,) as what may be added up."""
    log_mel = compute_log_mel(Signal(samples[None].astype(np.float32))).values
    return ((10.0**log_mel - 1.0) / LOG_GAIN) ** LOUDNESS_POWER


def to_log_mel(summed: np.ndarray) -> np.ndarray:
    """What `compute_log_mel` would give of the sum."""
    return np.log10(1.0 + LOG_GAIN * summed ** (1.0 / LOUDNESS_POWER))


def _render_kit(kit: Kit) -> dict[str, list[list[tuple[np.ndarray, np.ndarray]]]]:
    return {
        piece: [
            [(_render_drum(layer, 0), _render_drum(layer, 220)) for layer in _thin(sound.layers)]
            for sound in sounds[:2]
        ]
        for piece, sounds in kit.sounds.items()
    }


def _thin(layers: tuple[np.ndarray, ...], most: int = 3) -> list[np.ndarray]:
    return [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, most).round().astype(int))]


def _render_drum(samples: np.ndarray, late_samples: int) -> np.ndarray:
    lead = LEAD_IN * RATE_HZ // 100 + late_samples
    summable = to_summable(np.pad(samples[: DRUM_FRAMES * RATE_HZ // 100], (lead, 0)))
    level = summable.sum(axis=0)
    heard = np.flatnonzero(level > 1e-4 * level.max())
    return summable[:, : heard[-1] + 1 if len(heard) else 1].copy()


def _render_notes(font: Path, program: int) -> np.ndarray:
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])
    track.append(mido.Message("program_change", program=program))
    for index, note in enumerate(NOTES):
        track.append(
            mido.Message(
                "note_on", note=note, velocity=_VELOCITY, time=round(1_000 * (_STEP_S - _HELD_S)) if index else 0
            )
        )
        track.append(mido.Message("note_off", note=note, time=round(1_000 * _HELD_S)))
    song = mido.MidiFile(ticks_per_beat=1_000)
    song.tracks.append(track)
    samples = render_midi(song, font).mean(axis=0)
    lead = LEAD_IN * RATE_HZ // 100
    samples = np.pad(samples, (lead, round(_STEP_S * len(NOTES) * RATE_HZ)))
    step, count = round(_STEP_S * RATE_HZ), NOTE_FRAMES * RATE_HZ // 100
    notes = [to_summable(samples[i * step : i * step + count])[:, :NOTE_FRAMES] for i in range(len(NOTES))]
    loudest = [max(1e-9, note.sum(axis=0).max()) for note in notes]
    return np.stack([note / loud for note, loud in zip(notes, loudest, strict=True)]).astype(np.float32)


def _render_voice(number: int, rng: np.random.Generator) -> np.ndarray:
    """Read-out nonsense by espeak-ng, every fourth a likeness of singing."""
    if number % 4 == 3:
        return to_summable(make_voice(VOICE_S, rng).mean(axis=0))
    voice = str(rng.choice(["en", "en-us", "de", "fr", "es", "it", "pl", "ru", "sv", "tr"])) + str(
        rng.choice(["+m2", "+m4", "+f2", "+f4"])
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "voice.wav")
        options = ["-v", voice, "-s", str(rng.integers(110, 210)), "-p", str(rng.integers(20, 80)), "-w", path]
        subprocess.run(["espeak-ng", *options, _nonsense(rng)], check=True, stdout=subprocess.DEVNULL)
        samples, rate_hz = soundfile.read(path, dtype="float32")
    samples = resample_poly(samples, RATE_HZ // 50, rate_hz // 50)[: round(VOICE_S * RATE_HZ)]
    return to_summable(np.pad(samples, (0, round(VOICE_S * RATE_HZ) - len(samples))))


def _nonsense(rng: np.random.Generator, words: int = 140) -> str:
    """Words without meaning in sentences of 3 to 14."""
    text, left = [], 0
    for _ in range(words):
        syllables = [
            "".join(rng.choice(list(part)) for part in ("bdfgklmnprstvz", "aeiou")) for _ in range(rng.integers(1, 4))
        ]
        left = left - 1 if left > 0 else int(rng.integers(3, 15))
        text.append("".join(syllables) + rng.choice(["", "n", "s", "r"]) + ("." if left == 0 else ""))
    return " ".join(text)
