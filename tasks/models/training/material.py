"""Reads what synthesise.py wrote and mixes it anew for every step of training.

Mixing is done on the magnitudes of the mel bands: two sources add as vectors whose phases are random. The drum stem is
imitated by a mask of the kind that separation makes, or is the one that our separation made.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.music.signals import LOG_GAIN

CLASSES = 6
HIT_WIDTH_FRAMES = 1.0
LEAST_CERTAIN_VELOCITY = 16  # softer hits may be silent: they neither count as hits nor as none


@dataclass(frozen=True)
class Material:
    """Clips in memory.

    Attributes:
        drums, music: float16 (clips, frames, bands), log mel spectra of clips that belong together.
        mixture, stem: float16 (separated clips, frames, bands); `clip_of_separated` says whose drums they are.
        targets: float16 (clips, frames, 2 · CLASSES), activations and velocities, 0 to 1.
        certain: bool (clips, frames, CLASSES), False where a hit is too soft to ask for.
        hits: per clip, rows time_s, class, velocity.
    """

    drums: np.ndarray
    music: np.ndarray
    mixture: np.ndarray
    stem: np.ndarray
    clip_of_separated: np.ndarray
    targets: np.ndarray
    certain: np.ndarray
    hits: list[np.ndarray]


def load_material(folder: Path, part: str) -> Material:
    """Everything of one part, "train" or "validation"."""
    shards = [dict(np.load(path)) for path in sorted(folder.glob(f"{part}-*.npz"))]
    drums = np.concatenate([shard["drums"] for shard in shards])
    empty = np.zeros((0, *drums.shape[1:]), np.float16)
    starts = np.cumsum([0, *(len(shard["drums"]) for shard in shards)])
    hits = [shard["hits"][shard["hits"][:, 0] == clip, 1:] for shard in shards for clip in range(len(shard["drums"]))]
    targets, certain = zip(*(_targets(table, drums.shape[1]) for table in hits), strict=True)
    return Material(
        drums=drums,
        music=np.concatenate([shard["music"] for shard in shards]),
        mixture=np.concatenate([empty, *(shard["mixture"] for shard in shards if "mixture" in shard)]),
        stem=np.concatenate([empty, *(shard["stem"] for shard in shards if "stem" in shard)]),
        clip_of_separated=np.concatenate(
            [np.arange(len(shard.get("stem", ()))) + start for shard, start in zip(shards, starts, strict=False)]
        ).astype(int),
        targets=np.stack(targets),
        certain=np.stack(certain),
        hits=hits,
    )


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
    material: Material, size: int, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs float32 (size, 2, frames, bands), targets (size, frames, 2 · CLASSES) and what is certain of them."""
    inputs = np.empty((size, 2, frames, material.drums.shape[2]), np.float32)
    targets = np.empty((size, frames, 2 * CLASSES), np.float32)
    certain = np.empty((size, frames, CLASSES), np.float32)
    for item in range(size):
        start = int(rng.integers(0, material.drums.shape[1] - frames))
        window = slice(start, start + frames)
        if len(material.stem) and rng.random() < 0.35:
            which = int(rng.integers(len(material.stem)))
            clip = material.clip_of_separated[which]
            mixture, stem = _magnitude(material.mixture[which, window]), _magnitude(material.stem[which, window])
            if rng.random() < 0.3:
                stem = mixture
            drumless = False
        else:
            clip = int(rng.integers(len(material.drums)))
            drumless = rng.random() < 0.08
            mixture, stem = _mix(material, clip, window, drumless, rng)
        inputs[item] = _colour(mixture, stem, rng)
        targets[item] = 0 if drumless else material.targets[clip, window]
        certain[item] = 1 if drumless else material.certain[clip, window]
    return inputs, targets, certain


def _mix(
    material: Material, clip: int, window: slice, drumless: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of a mixture and of a drum stem like one that separation would find in it."""
    frames = window.stop - window.start
    drums = _magnitude(material.drums[clip, window])
    if drumless:
        drums = np.zeros_like(drums)
    elif rng.random() < 0.2:
        return drums, drums
    if rng.random() < 0.5:
        music = material.music[clip, window]
    else:
        start = int(rng.integers(0, material.music.shape[1] - frames))
        music = material.music[rng.integers(len(material.music)), start : start + frames]
    music = _magnitude(music) * 10 ** (rng.uniform(-18, 7) / 20)
    angle = np.cos(rng.uniform(0, 2 * np.pi, drums.shape).astype(np.float32))
    mixture = np.sqrt(np.maximum(drums**2 + music**2 + 2 * drums * music * angle, 0))
    if rng.random() < 0.4:
        return mixture, mixture
    sharpness, bias = rng.uniform(0.7, 2.0), 10 ** (rng.uniform(-12, 12) / 20)
    wanted, rest = (drums * bias) ** sharpness, music**sharpness
    mask = _blur(wanted / (wanted + rest + 1e-9), int(rng.integers(0, 3)), int(rng.integers(0, 4)))
    floor = rng.uniform(0, 0.15)
    return mixture, mixture * (floor + (1 - floor) * mask)


def _blur(mask: np.ndarray, over_bands: int, over_frames: int) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    return uniform_filter(mask, (2 * over_frames + 1, 2 * over_bands + 1), mode="nearest")


def _colour(mixture: np.ndarray, stem: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random level, tone and noise floor; back to the logarithmic scale."""
    level_db = rng.uniform(-16, 6)
    tone_db = _smooth_curve(rng, 5.0)
    both = np.stack([mixture, stem]) * 10 ** ((level_db + tone_db) / 20).astype(np.float32)
    both[1] *= 10 ** (_smooth_curve(rng, 2.5) / 20).astype(np.float32)
    if rng.random() < 0.3:
        floor = 10 ** ((rng.uniform(-90, -50) + _smooth_curve(rng, 6.0)) / 20)
        both += floor * rng.rayleigh(1.0, both.shape)
    return np.log10(1 + LOG_GAIN * both)


def _smooth_curve(rng: np.random.Generator, most_db: float) -> np.ndarray:
    """A random curve over the 80 bands through 6 points."""
    return np.interp(np.arange(80), np.linspace(0, 79, 6), rng.uniform(-most_db, most_db, 6))


def _magnitude(log_mel: np.ndarray) -> np.ndarray:
    return (np.float32(10) ** log_mel.astype(np.float32) - 1) / np.float32(LOG_GAIN)
