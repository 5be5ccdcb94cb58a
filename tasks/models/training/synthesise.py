"""Makes the training material: spectrograms of drums and of music without drums, and what the drums played.

    python -m tasks.models.training.synthesise OUT --sounds ROOT --groove GROOVE --clips 600 --separated 10

ROOT is a folder into which the Debian packages named in README.md were unpacked. OUT gets one .npz a shard of clips.
Drums and music are kept apart, and the drums once more by groups, so that training can mix them anew each time; the
separated clips are real mixtures and the drum stem that our own separation makes of them.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from tasks.models.training import effects
from tasks.models.training.backing import load_recordings, make_voice, pluck, render_arrangements
from tasks.models.training.disturbances import make_disturbance
from tasks.models.training.drum_synth import load_drum_synth_kits
from tasks.models.training.kits import CLASS_OF_PIECE, RATE_HZ, Kit, load_kits, load_more_kits, make_kit
from tasks.models.training.odd_kits import make_odd_kits
from tasks.models.training.performances import (
    Performance,
    excerpt,
    load_performances,
    move_hihats_to_ride,
    random_pattern,
)
from tasks.models.training.session import Session, render_session
from tasks.music.drums import NOTES_OF_INSTRUMENT
from tasks.music.signals import MEL_BANDS, Signal, compute_log_mel

CLIP_S = 20.0
CLASSES = tuple(NOTES_OF_INSTRUMENT)
CLIPS_A_SHARD = 20
FORMULA_KITS = 50
_CLASS_OF_PIECE_INDEX = np.array([CLASSES.index(name) if name else -1 for name in CLASS_OF_PIECE.values()])
_VALIDATION_SHARE = 0.1
_PLUCKED, _DISTURBED = 0, 1  # which of five clips of music are
_PLUCKED_OR_DISTURBED = (_PLUCKED, _DISTURBED)
_RIDE_SHARE = 0.3  # of the clips: rides are what passes for hi-hats


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
    kits += load_more_kits(options.sounds)
    kits += load_drum_synth_kits(options.sounds) + make_odd_kits(options.seed)
    performances = load_performances(options.groove)
    recordings = load_recordings(options.sounds)
    sound_fonts = [next(options.sounds.glob(f"**/{name}.sf2")) for name in ("FluidR3_GM", "TimGM6mb", "sf_GMbank")]
    train_kits, validation_kits = _split(kits)
    train_performances, validation_performances = _split(performances)
    print(f"{len(kits)} kits, {len(performances)} performances, {len(validation_kits)} kits kept for validation")

    for shard in range(options.first_shard, -(-options.clips // CLIPS_A_SHARD)):
        started = time.monotonic()
        validation = shard % round(1 / _VALIDATION_SHARE) == 0
        rng = np.random.default_rng([options.seed, 2, shard])
        sessions = [
            _record(
                validation_kits if validation else train_kits,
                validation_performances if validation else train_performances,
                rng,
            )
            for _ in range(CLIPS_A_SHARD)
        ]
        music = _music_clips(
            [session.heard.time_s for session in sessions], recordings, sound_fonts[shard % len(sound_fonts)], rng
        )
        arrays = {
            "drums": np.stack([_features(session.mix) for session in sessions]),
            "groups": np.stack([_group_magnitudes(session.groups) for session in sessions]),
            "music": np.stack([_features(samples) for samples in music]),
            "hits": _hits_table([session.heard for session in sessions]),
        }
        separated = min(CLIPS_A_SHARD, options.separated)
        if separated:
            arrays |= _separate_clips([session.mix for session in sessions[:separated]], music, rng)
        name = f"{'validation' if validation else 'train'}-{shard:03d}.npz"
        np.savez(options.out / f"unfinished-{name}", **arrays)
        (options.out / f"unfinished-{name}").rename(options.out / name)
        print(f"{name}: {CLIPS_A_SHARD} clips, {separated} separated, {time.monotonic() - started:.0f} s", flush=True)


def _split(items: list) -> tuple[list, list]:
    """Every tenth to the validation part."""
    every = round(1 / _VALIDATION_SHARE)
    return [x for i, x in enumerate(items) if i % every != 3], [x for i, x in enumerate(items) if i % every == 3]


def _record(kits: list[Kit], performances: list[Performance], rng: np.random.Generator) -> Session:
    if rng.random() < 0.65:
        performance = excerpt(performances[rng.integers(len(performances))], CLIP_S, rng)
    else:
        performance = random_pattern(CLIP_S, rng)
    if rng.random() < _RIDE_SHARE:
        performance = move_hihats_to_ride(performance, CLIP_S, rng)
    return render_session(performance, kits, CLIP_S, rng)


def _music_clips(
    hit_times_s: list[np.ndarray], recordings: list[np.ndarray], sound_font: Path, rng: np.random.Generator
) -> list[np.ndarray]:
    """Music for each clip: of five clips three as songs have it, one of plucked strings, one with disturbances."""
    arranged = render_arrangements(hit_times_s, CLIP_S, sound_font, rng)
    plucked = render_arrangements(hit_times_s[::5], CLIP_S, sound_font, rng, pluck)
    clips = []
    for index, arrangement in enumerate(arranged):
        clip = _to_peak(plucked[index // 5]) if index % 5 == _PLUCKED else _music_clip(arrangement, recordings, rng)
        if index % 5 == _DISTURBED:
            clip = rng.choice([0.0, 0.3, 1.0]) * clip + make_disturbance(CLIP_S, rng)
        clips.append(_to_peak(clip).astype(np.float32))
    return clips


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


def _group_magnitudes(groups: np.ndarray) -> np.ndarray:
    """Mel magnitudes times LOG_GAIN, float16 (groups, frames, bands)."""
    magnitudes = []
    for samples in groups:
        values = compute_log_mel(Signal(samples[None])).values.T if samples.any() else None
        magnitudes.append(values if values is None else np.float32(10) ** values - 1)
    frames = next(len(values) for values in magnitudes if values is not None)
    empty = np.zeros((frames, MEL_BANDS), np.float32)
    return np.stack([empty if values is None else values for values in magnitudes]).astype(np.float16)


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
    """Real mixtures, some lossily coded, some without drums, and the drum stem that separation makes of them."""
    from tasks.models.spleeter import load_separator

    mixtures, stems, drumless = [], [], []
    for index, (samples, backing) in enumerate(zip(drums, music, strict=False)):
        drumless.append(rng.random() < (0.5 if index % 5 in _PLUCKED_OR_DISTURBED else 0.1))
        mixture = (0.0 if drumless[-1] else 1.0) * samples + 10 ** (rng.uniform(-14, 6) / 20) * backing
        if rng.random() < 0.4:
            mixture = effects.compress(mixture, rng)
        mixture = (10 ** (rng.uniform(-9, 0) / 20) * _to_peak(mixture)).astype(np.float32)
        if rng.random() < 0.3:
            mixture = effects.code_lossily(mixture, rng)
        stream = load_separator(4).stream()
        blocks = [stream.push(mixture), stream.finish()]
        mixtures.append(_features(mixture))
        stems.append(_features(np.concatenate([block["drums"] for block in blocks], axis=1)))
    return {"mixture": np.stack(mixtures), "stem": np.stack(stems), "drumless": np.array(drumless)}


if __name__ == "__main__":
    main()
