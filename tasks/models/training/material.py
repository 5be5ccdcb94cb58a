"""Reads what synthesise.py wrote and mixes it anew for every step of training.

Mixing is done on the magnitudes of the mel bands: sources add as vectors whose phases are random. Drums are those of
a clip as its studio mixed them, or its groups put together anew: at other levels, tunings and tones, some left out,
some from other clips. The drum stem is imitated by a mask of the kind that separation makes, or is the one that our
separation made.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.models.training.session import GROUPS
from tasks.music.drums import NOTES_OF_INSTRUMENT
from tasks.music.signals import LOG_GAIN, MEL_BANDS, mel_centres_hz

CLASSES = len(NOTES_OF_INSTRUMENT)
HIT_WIDTH_FRAMES = 1.0
LEAST_CERTAIN_VELOCITY = 16  # softer hits may be silent: they neither count as hits nor as none

_CLASSES_OF_GROUP = {"kick": ("kick",), "snare": ("snare",), "hihat": ("hihat",), "tom": ("tom",)} | {
    "cymbal": ("crash", "ride"),
    "other": (),
}
ROWS_OF_GROUP = [
    [list(NOTES_OF_INSTRUMENT).index(name) for name in names] for names in map(_CLASSES_OF_GROUP.get, GROUPS)
]
_TUNINGS = 2 ** (np.arange(-4, 5) / 12)


@dataclass(frozen=True)
class Clip:
    """One clip in memory, spectra float16 (frames, bands).

    Attributes:
        drums, music: Log mel spectra that belong together.
        groups: Mel magnitudes times LOG_GAIN of the drums by groups, float16 (len(GROUPS), frames, bands).
        targets: float16 (frames, 2 · CLASSES), activations and velocities, 0 to 1.
        certain: bool (frames, CLASSES), False where a hit is too soft to ask for.
        hits: Rows time_s, class, velocity.
        mixture, stem: Log mel spectra of a real mixture and of the drum stem that separation made; None for most clips.
        drumless: Whether that mixture has no drums.
    """

    drums: np.ndarray
    groups: np.ndarray
    music: np.ndarray
    targets: np.ndarray
    certain: np.ndarray
    hits: np.ndarray
    mixture: np.ndarray | None
    stem: np.ndarray | None
    drumless: bool


def load_material(paths: list[Path]) -> list[Clip]:
    """Every clip of some shards."""
    clips = []
    for path in paths:
        shard = dict(np.load(path))
        for index, drums in enumerate(shard["drums"]):
            hits = shard["hits"][shard["hits"][:, 0] == index, 1:]
            separated = index < len(shard.get("stem", ()))
            clip = Clip(
                drums,
                shard["groups"][index],
                shard["music"][index],
                *_targets(hits, len(drums)),
                hits,
                shard["mixture"][index] if separated else None,
                shard["stem"][index] if separated else None,
                bool(separated and shard["drumless"][index]),
            )
            clips.append(clip)
    return clips


def _targets(hits: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A bell around each hit, its top between the frames where the hit is; the velocity beside it."""
    targets = np.zeros((frames, 2 * CLASSES), np.float16)
    certain = np.ones((frames, CLASSES), bool)
    for time_s, which, velocity in hits:
        which, centre = int(which), time_s * 100
        near = np.arange(max(0, int(centre) - 4), min(frames, int(centre) + 6))
        if velocity < LEAST_CERTAIN_VELOCITY:
            certain[near, which] = False
            continue
        bell = np.exp(-0.5 * ((near - centre) / HIT_WIDTH_FRAMES) ** 2)
        nearer = bell > targets[near, which]
        targets[near[nearer], which] = bell[nearer]
        targets[near[nearer], CLASSES + which] = velocity / 127
    return targets, certain


def make_batch(
    clips: list[Clip], size: int, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs float32 (size, 2, frames, bands), targets (size, frames, 2 · CLASSES) and what is certain of them."""
    separated = [clip for clip in clips if clip.stem is not None]
    inputs = np.empty((size, 2, frames, MEL_BANDS), np.float32)
    targets = np.zeros((size, frames, 2 * CLASSES), np.float32)
    certain = np.ones((size, frames, CLASSES), np.float32)
    for item in range(size):
        if separated and rng.random() < 0.3:
            clip = separated[rng.integers(len(separated))]
            window = _window(clip, frames, rng)
            mixture, stem = _magnitude(clip.mixture[window]), _magnitude(clip.stem[window])
            if rng.random() < 0.3:
                stem = mixture
            if not clip.drumless:
                targets[item], certain[item] = clip.targets[window], clip.certain[window]
        else:
            clip = clips[rng.integers(len(clips))]
            window = _window(clip, frames, rng)
            kind = rng.random()
            if kind < 0.13:
                drums = None
            elif kind < 0.45:
                drums = _magnitude(clip.drums[window])
                targets[item], certain[item] = clip.targets[window], clip.certain[window]
            else:
                drums = _remix(clips, clip, window, targets[item], certain[item], rng)
            mixture, stem = _mix(clips, clip, window, drums, rng)
        inputs[item] = _colour(mixture, stem, rng)
    return inputs, targets, certain


def make_examples(clips: list[Clip], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Whole clips to choose thresholds by: inputs float32 (2, frames, bands), and hits in rows time_s, class, velocity.

    Drums alone and in two mixtures of each clip; where there is one, the mixture that was separated, with its stem and
    without.
    """
    examples = []
    for index, clip in enumerate(clips):
        rng = np.random.default_rng([seed, index])
        window = slice(0, len(clip.drums) - 1)
        drums = _magnitude(clip.drums[window])
        examples.append((np.stack([clip.drums, clip.drums]).astype(np.float32), clip.hits))
        for _ in range(2):
            examples.append((_colour(*_mix(clips, clip, window, drums, rng), rng), clip.hits))
        if clip.stem is not None:
            hits = clip.hits[:0] if clip.drumless else clip.hits
            for stem in (clip.stem, clip.mixture):
                examples.append((np.stack([clip.mixture, stem]).astype(np.float32), hits))
    return examples


def _window(clip: Clip, frames: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(0, len(clip.drums) - frames))
    return slice(start, start + frames)


def _remix(
    clips: list[Clip],
    home: Clip,
    window: slice,
    targets: np.ndarray,
    certain: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Magnitudes of the groups put together anew; what they play is written into `targets` and `certain`."""
    frames = window.stop - window.start
    energy = np.zeros((frames, MEL_BANDS), np.float32)
    mixed_up = rng.random() < 0.35
    for row, classes in enumerate(ROWS_OF_GROUP):
        clip, here = home, window
        if mixed_up and rng.random() < 0.5:
            clip = clips[rng.integers(len(clips))]
            here = _window(clip, frames, rng)
        scaled = clip.groups[row, here]
        if rng.random() < 0.1 or not scaled.any():
            continue
        tone = 10 ** ((rng.normal(0, 4) + _smooth_curve(rng, 5.0)) / 20) / LOG_GAIN
        magnitude = scaled.astype(np.float32) @ (_retune(int(rng.integers(len(_TUNINGS)))) * tone.astype(np.float32))
        if rng.random() < 0.2:
            rise = np.diff(magnitude, axis=0, prepend=magnitude[:1])
            magnitude = np.maximum(0, magnitude + np.float32(rng.uniform(-0.5, 1.5)) * np.maximum(0, rise))
        energy += magnitude**2
        for which in classes:
            targets[:, [which, CLASSES + which]] = clip.targets[here][:, [which, CLASSES + which]]
            certain[:, which] = clip.certain[here][:, which]
    drums = np.sqrt(energy)
    return _compress(drums, rng) if rng.random() < 0.35 else drums


@lru_cache(maxsize=len(_TUNINGS))
def _retune(index: int) -> np.ndarray:
    """What takes the bands of a sound to those of the sound at another pitch, float32 (bands, bands)."""
    centres_hz = mel_centres_hz()
    source = np.interp(centres_hz / _TUNINGS[index], centres_hz, np.arange(MEL_BANDS))
    below = np.minimum(source.astype(int), MEL_BANDS - 2)
    matrix = np.zeros((MEL_BANDS, MEL_BANDS), np.float32)
    matrix[below, np.arange(MEL_BANDS)] = 1 - (source - below)
    matrix[below + 1, np.arange(MEL_BANDS)] += source - below
    return matrix


def _compress(magnitude: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bus compressor that follows the level of the frames."""
    from scipy.signal import lfilter

    level = magnitude.max(axis=1)
    keep = np.exp(-1 / rng.uniform(2, 25))
    followed = np.maximum(level * rng.uniform(0.3, 1), lfilter([1 - keep], [1, -keep], level))
    threshold = np.quantile(followed, rng.uniform(0.3, 0.9)) + 1e-6
    gain = np.maximum(followed / threshold, 1) ** (1 / rng.uniform(1.5, 6) - 1)
    return magnitude * gain[:, None].astype(np.float32)


def _mix(
    clips: list[Clip], clip: Clip, window: slice, drums: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of a mixture and of a drum stem like one that separation would find in it."""
    if drums is None:
        drums = np.zeros((window.stop - window.start, MEL_BANDS), np.float32)
    elif rng.random() < 0.2:
        return drums, drums
    if rng.random() < 0.5:
        music = clip.music[window]
    else:
        other = clips[rng.integers(len(clips))]
        music = other.music[_window(other, len(drums), rng)]
    music = _magnitude(music) * np.float32(10 ** (rng.uniform(-18, 7) / 20))
    angle = np.cos(rng.uniform(0, 2 * np.pi, drums.shape).astype(np.float32))
    mixture = np.sqrt(np.maximum(drums**2 + music**2 + 2 * drums * music * angle, 0))
    if rng.random() < 0.4:
        return mixture, mixture
    sharpness, bias = np.float32(rng.uniform(0.7, 2.0)), np.float32(10 ** (rng.uniform(-12, 12) / 20))
    wanted, rest = (drums * bias) ** sharpness, music**sharpness
    mask = _blur(wanted / (wanted + rest + 1e-9), int(rng.integers(0, 3)), int(rng.integers(0, 4)))
    floor = rng.uniform(0, 0.15)
    return mixture, mixture * (floor + (1 - floor) * mask)


def _blur(mask: np.ndarray, over_bands: int, over_frames: int) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    return uniform_filter(mask, (2 * over_frames + 1, 2 * over_bands + 1), mode="nearest")


def _colour(mixture: np.ndarray, stem: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random level, tone, upper end and noise floor; back to the logarithmic scale."""
    level_db = rng.uniform(-22, 6)
    tone_db = _smooth_curve(rng, 5.0)
    both = np.stack([mixture, stem]) * 10 ** ((level_db + tone_db) / 20).astype(np.float32)
    both[1] *= 10 ** (_smooth_curve(rng, 2.5) / 20).astype(np.float32)
    if rng.random() < 0.2:
        both *= _roll_off(rng.uniform(7_000, 16_000))
    if rng.random() < 0.3:
        floor = 10 ** ((rng.uniform(-90, -50) + _smooth_curve(rng, 6.0)) / 20)
        both += (floor * rng.rayleigh(1.0, both.shape)).astype(np.float32)
    return np.log10(1 + np.float32(LOG_GAIN) * both)


def _roll_off(cutoff_hz: float) -> np.ndarray:
    """Gains of the bands where a codec at a low bit rate keeps nothing above a cutoff, float32 (bands,)."""
    return (1 / (1 + (mel_centres_hz() / cutoff_hz) ** 48)).astype(np.float32)


def _smooth_curve(rng: np.random.Generator, most_db: float) -> np.ndarray:
    """A random curve over the bands through 6 points."""
    return np.interp(np.arange(MEL_BANDS), np.linspace(0, MEL_BANDS - 1, 6), rng.uniform(-most_db, most_db, 6))


def _magnitude(log_mel: np.ndarray) -> np.ndarray:
    return (np.float32(10) ** log_mel.astype(np.float32) - 1) / np.float32(LOG_GAIN)
