"""Plays a performance on a kit put together at random, through a random studio."""

import numpy as np
from scipy.signal import butter, sosfilt

from tasks.models.training import effects
from tasks.models.training.kits import PIECES, RATE_HZ, Kit, Sound
from tasks.models.training.performances import Performance

# Pieces that are recorded, tuned and levelled together; a kit is put together of whole groups.
GROUPS = (
    ("kick",),
    ("snare", "snare_rim", "stick"),
    ("hihat_closed", "hihat_pedal", "hihat_open"),
    ("tom_low", "tom_mid", "tom_high"),
    ("crash",),
    ("ride", "ride_bell"),
    ("clap", "cowbell", "tambourine", "shaker", "clave", "conga"),
)
_CHOKES_OPEN_HIHAT = tuple(PIECES.index(piece) for piece in ("hihat_closed", "hihat_pedal", "hihat_open"))


def render_drums(
    performance: Performance, kits: list[Kit], duration_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, Performance]:
    """Play a performance.

    Returns:
        Samples float32 (2, duration_s · RATE_HZ) with a peak of at most 1, and the hits that were heard: those on
        pieces that the kit has.
    """
    count = round(duration_s * RATE_HZ)
    home = kits[rng.integers(len(kits))]
    loyal = rng.random() < 0.35
    mix, heard = np.zeros((2, count)), np.zeros(len(performance), bool)
    curve = rng.uniform(0.7, 2.2)  # from velocity to amplitude
    for group in GROUPS:
        chosen = np.isin(performance.piece, [PIECES.index(piece) for piece in group])
        if not chosen.any():
            continue
        sounds = choose_sounds(group, home, kits, loyal, rng)
        track = np.zeros(count + RATE_HZ * 3)
        for index in np.flatnonzero(chosen):
            piece = PIECES[performance.piece[index]]
            if piece in sounds:
                heard[index] = True
                length_s = time_to_choke(performance, index)
                place_hit(
                    track, sounds[piece], performance.time_s[index], performance.velocity[index], length_s, curve, rng
                )
        level = 10 ** (rng.normal(usual_level_db(group), 4) / 20)
        track = effects.equalise(level * track[None, :count], rng, bands=int(rng.integers(0, 3)), most_db=9)[0]
        pan = rng.uniform(0.3, 0.7)
        mix += np.sqrt([[1 - pan], [pan]]) * track
    return through_studio(mix, rng), only(performance, heard)


def usual_level_db(group: tuple[str, ...]) -> float:
    return {"kick": 0.0, "snare": -2.0, "hihat_closed": -11.0, "tom_low": -3.0, "crash": -7.0, "ride": -12.0}.get(
        group[0], -9.0
    )


def choose_sounds(
    group: tuple[str, ...], home: Kit, kits: list[Kit], loyal: bool, rng: np.random.Generator
) -> dict[str, Sound]:
    """A sound for each piece of the group, all of one kit and tuned alike."""
    owners = [kit for kit in kits if group[0] in kit.sounds or any(piece in kit.sounds for piece in group)]
    if not owners:
        return {}
    kit = home if loyal and any(piece in home.sounds for piece in group) else owners[rng.integers(len(owners))]
    ratio = 2 ** (rng.normal(0, 2.0) / 12)
    shorten_s = rng.uniform(0.05, 0.5) if rng.random() < 0.3 else None
    sounds = {}
    for piece in group:
        if piece in kit.sounds:
            options = kit.sounds[piece]
            sounds[piece] = _vary(options[rng.integers(len(options))], ratio, shorten_s)
    return sounds


def _vary(sound: Sound, ratio: float, shorten_s: float | None) -> Sound:
    layers = []
    for layer in sound.layers:
        tuned = effects.repitch(layer, ratio)
        if shorten_s is not None:
            tuned = tuned * np.exp(-np.arange(len(tuned)) / (shorten_s * RATE_HZ)).astype(np.float32)
        layers.append(tuned)
    return Sound(tuple(layers))


def time_to_choke(performance: Performance, index: int) -> float | None:
    """Seconds until another hi-hat stroke silences an open one; None for other pieces."""
    if PIECES[performance.piece[index]] != "hihat_open":
        return None
    later = (performance.time_s > performance.time_s[index]) & np.isin(performance.piece, _CHOKES_OPEN_HIHAT)
    return float(performance.time_s[later].min() - performance.time_s[index]) if later.any() else None


def place_hit(
    track: np.ndarray,
    sound: Sound,
    time_s: float,
    velocity: int,
    length_s: float | None,
    curve: float,
    rng: np.random.Generator,
) -> None:
    """Add one hit to a track; soft hits of a sound with a single layer are duller."""
    position = velocity / 127 * len(sound.layers) + 0.15 * rng.standard_normal()
    layer = sound.layers[int(np.clip(position, 0, len(sound.layers) - 1))]
    if length_s is not None and len(layer) > length_s * RATE_HZ:
        fade = round(0.02 * RATE_HZ)
        layer = layer[: round(length_s * RATE_HZ) + fade].copy()
        layer[-fade:] *= np.linspace(1, 0, len(layer[-fade:]))
    if len(sound.layers) == 1 and velocity < 90 and rng.random() < 0.7:
        cutoff_hz = 16_000 * 2 ** (-(90 - velocity) / 90 * rng.uniform(0.5, 2.5))
        layer = sosfilt(butter(1, cutoff_hz, fs=RATE_HZ, output="sos"), layer)
    gain = (velocity / 127) ** curve * 10 ** (rng.normal(0, 0.7) / 20)
    start = round(time_s * RATE_HZ)
    end = min(len(track), start + len(layer))
    track[start:end] += gain * layer[: end - start]


def through_studio(mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.7:
        mix = effects.add_room(mix, rng)
    if rng.random() < 0.6:
        mix = effects.equalise(mix, rng, bands=int(rng.integers(1, 4)), most_db=7)
    if rng.random() < 0.5:
        mix = effects.compress(mix, rng)
    if rng.random() < 0.3:
        mix = effects.saturate(mix, rng)
    mix = effects.limit_band(mix, rng)
    mix = (mix / (np.abs(mix).max() + 1e-9)).astype(np.float32)
    return effects.code_lossily(mix, rng) if rng.random() < 0.2 else mix


def only(performance: Performance, kept: np.ndarray) -> Performance:
    return Performance(performance.time_s[kept], performance.piece[kept], performance.velocity[kept])
