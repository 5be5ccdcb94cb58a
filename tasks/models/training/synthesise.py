"""Makes the training material: spectrograms of drums and of music without drums, and what the drums played.

    python -m tasks.models.training.synthesise OUT --sounds ROOT --groove GROOVE --clips 600 --separated 12

ROOT is a folder into which the Debian packages named in README.md were unpacked. OUT gets one .npz a shard of clips.
Drums and music are kept apart, so that training can mix them anew each time; the separated clips are real mixtures and
the drum stem that our own separation makes of them.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from tasks.models.training import effects
from tasks.models.training.backing import load_recordings, make_voice, render_arrangements
from tasks.models.training.kits import CLASS_OF_PIECE, RATE_HZ, Kit, load_kits, make_kit
from tasks.models.training.performances import Performance, excerpt, load_performances, random_pattern
from tasks.models.training.render import render_drums
from tasks.music.drums import NOTES_OF_INSTRUMENT
from tasks.music.signals import Signal, compute_log_mel

CLIP_S = 20.0
CLASSES = tuple(NOTES_OF_INSTRUMENT)
CLIPS_A_SHARD = 30
FORMULA_KITS = 50
_CLASS_OF_PIECE_INDEX = np.array([CLASSES.index(name) if name else -1 for name in CLASS_OF_PIECE.values()])
_VALIDATION_SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--groove", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument(
        "--separated", type=int, default=0, help="how many clips of each shard also go through separation"
    )
    parser.add_argument("--with-development-kits", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first-shard", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    kits = load_kits(options.sounds, with_development_kits=options.with_development_kits)
    kits += [make_kit(np.random.default_rng([options.seed, 1, index])) for index in range(FORMULA_KITS)]
    performances = load_performances(options.groove)
    recordings = load_recordings(options.sounds)
    sound_fonts = [next(options.sounds.glob(f"**/{name}.sf2")) for name in ("FluidR3_GM", "TimGM6mb")]
    train_kits, validation_kits = _split(kits)
    train_performances, validation_performances = _split(performances)
    print(f"{len(kits)} kits, {len(performances)} performances, {len(validation_kits)} kits kept for validation")

    for shard in range(options.first_shard, -(-options.clips // CLIPS_A_SHARD)):
        started = time.monotonic()
        validation = shard % round(1 / _VALIDATION_SHARE) == 0
        rng = np.random.default_rng([options.seed, 2, shard])
        clips = [
            _drums_clip(
                validation_kits if validation else train_kits,
                validation_performances if validation else train_performances,
                rng,
            )
            for _ in range(CLIPS_A_SHARD)
        ]
        sound_font = sound_fonts[shard % len(sound_fonts)]
        times_s = [played.time_s for _, played in clips]
        music = [
            _music_clip(played, recordings, rng) for played in render_arrangements(times_s, CLIP_S, sound_font, rng)
        ]
        arrays = {
            "drums": np.stack([_features(samples) for samples, _ in clips]),
            "music": np.stack([_features(samples) for samples in music]),
            "hits": _hits_table([played for _, played in clips]),
        }
        separated = min(CLIPS_A_SHARD, options.separated)
        if separated:
            arrays |= _separate_clips([samples for samples, _ in clips[:separated]], music, rng)
        name = f"{'validation' if validation else 'train'}-{shard:03d}.npz"
        np.savez(options.out / f"unfinished-{name}", **arrays)
        (options.out / f"unfinished-{name}").rename(options.out / name)
        print(f"{name}: {CLIPS_A_SHARD} clips, {separated} separated, {time.monotonic() - started:.0f} s", flush=True)


def _split(items: list) -> tuple[list, list]:
    """Every tenth to the validation part."""
    every = round(1 / _VALIDATION_SHARE)
    return [x for i, x in enumerate(items) if i % every != 3], [x for i, x in enumerate(items) if i % every == 3]


def _drums_clip(
    kits: list[Kit], performances: list[Performance], rng: np.random.Generator
) -> tuple[np.ndarray, Performance]:
    if rng.random() < 0.65:
        performance = excerpt(performances[rng.integers(len(performances))], CLIP_S, rng)
    else:
        performance = random_pattern(CLIP_S, rng)
    return render_drums(performance, kits, CLIP_S, rng)


def _music_clip(arrangement: np.ndarray, recordings: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """An arrangement, a recording or a voice, or some of them together; peak 1."""
    count = round(CLIP_S * RATE_HZ)
    clip = np.zeros((2, count), np.float32)
    if rng.random() < 0.75:
        clip += _to_peak(arrangement)
    if rng.random() < 0.3 or not clip.any():
        recording = recordings[rng.integers(len(recordings))]
        start = rng.integers(0, max(1, recording.shape[1] - count))
        excerpt_of_it = recording[:, start : start + count]
        clip[:, : excerpt_of_it.shape[1]] += rng.uniform(0.3, 1) * _to_peak(excerpt_of_it)
    if rng.random() < 0.4:
        clip += rng.uniform(0.3, 1) * make_voice(CLIP_S, rng)
    if rng.random() < 0.5:
        clip = effects.equalise(clip, rng, bands=int(rng.integers(1, 4)), most_db=8)
    if rng.random() < 0.3:
        clip = effects.saturate(clip, rng)
    return _to_peak(clip).astype(np.float32)


def _to_peak(samples: np.ndarray) -> np.ndarray:
    return samples / (np.abs(samples).max() + 1e-6)


def _features(samples: np.ndarray) -> np.ndarray:
    return compute_log_mel(Signal(samples)).values.T.astype(np.float16)


def _hits_table(played: list[Performance]) -> np.ndarray:
    """Rows clip, time_s, class, velocity of the hits that have a class, float32 (hits, 4)."""
    rows = []
    for clip, performance in enumerate(played):
        classes = _CLASS_OF_PIECE_INDEX[performance.piece]
        known = classes >= 0
        table = np.stack([np.full(len(performance), clip), performance.time_s, classes, performance.velocity], axis=1)
        rows.append(table[known])
    return np.concatenate(rows).astype(np.float32)


def _separate_clips(
    drums: list[np.ndarray], music: list[np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Real mixtures, some lossily coded, and the drum stem that separation makes of each."""
    from tasks.models.spleeter import load_separator

    mixtures, stems = [], []
    for samples, backing in zip(drums, music, strict=False):
        mixture = samples + 10 ** (rng.uniform(-14, 6) / 20) * backing
        if rng.random() < 0.4:
            mixture = effects.compress(mixture, rng)
        mixture = (10 ** (rng.uniform(-9, 0) / 20) * _to_peak(mixture)).astype(np.float32)
        if rng.random() < 0.3:
            mixture = effects.code_lossily(mixture, rng)
        stream = load_separator(4).stream()
        blocks = [stream.push(mixture), stream.finish()]
        mixtures.append(_features(mixture))
        stems.append(_features(np.concatenate([block["drums"] for block in blocks], axis=1)))
    return {"mixture": np.stack(mixtures), "stem": np.stack(stems)}


if __name__ == "__main__":
    main()
