"""A recording session: drums by groups, as from the microphones of a desk, and their mix.

Training puts the groups together anew (material.py), so that one session gives many. Sounds are varied: two samples on
top of each other, other attacks and decays, loose hi-hats, snare wires that answer the kick and the toms.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from tasks.models.training import effects
from tasks.models.training.kits import PIECES, RATE_HZ, Kit, Sound
from tasks.models.training.performances import Performance
from tasks.models.training.render import only, place_hit, through_studio, time_to_choke, usual_level_db

# Every group has sounds of one class alone or, the last, of none; cymbals are crashes and rides.
GROUPS = {
    "kick": ("kick",),
    "snare": ("snare", "snare_rim"),
    "hihat": ("hihat_closed", "hihat_pedal", "hihat_open"),
    "tom": ("tom_low", "tom_mid", "tom_high"),
    "cymbal": ("crash", "ride", "ride_bell"),
    "other": ("stick", "clap", "cowbell", "tambourine", "shaker", "clave", "conga"),
}
# The presets of a sound font have most of their sounds in common; acoustic kits are few.
_WEIGHT_OF_KIT = {"TimGM6mb/": 0.4, "sf_GMbank/": 0.4, "Red_Zeppelin": 2.5, "Millo": 2.0, "drumsynth/": 0.6} | {
    "formula/electronic": 2.0
}
_LOYAL_SHARE = 0.6  # of the sessions play one kit throughout, as most music does
_SAMPLED_SHARE = 0.7  # of the groups are played by samples, the others by formulas


@dataclass(frozen=True)
class Session:
    """groups float32 (len(GROUPS), n), mix float32 (2, n) with a peak of at most 1, and the hits that were heard."""

    groups: np.ndarray
    mix: np.ndarray
    heard: Performance


def render_session(performance: Performance, kits: list[Kit], duration_s: float, rng: np.random.Generator) -> Session:
    """Play a performance on kits put together at random."""
    count = round(duration_s * RATE_HZ)
    home = kits[rng.integers(len(kits))]
    loyal = rng.random() < _LOYAL_SHARE
    curve = rng.uniform(0.7, 2.2)  # from velocity to amplitude
    tracks = np.zeros((len(GROUPS), count), np.float32)
    mix, heard = np.zeros((2, count)), np.zeros(len(performance), bool)
    for row, (group, pieces) in enumerate(GROUPS.items()):
        chosen = np.isin(performance.piece, [PIECES.index(piece) for piece in pieces])
        if not chosen.any():
            continue
        sounds = _choose_sounds(pieces, home if loyal else None, kits, rng)
        track = np.zeros(count + RATE_HZ * 3)
        for index in np.flatnonzero(chosen):
            piece = PIECES[performance.piece[index]]
            if piece not in sounds:
                continue
            heard[index] = True
            length_s = time_to_choke(performance, index)
            sound = sounds[piece][rng.integers(len(sounds[piece]))]
            place_hit(track, sound, performance.time_s[index], performance.velocity[index], length_s, curve, rng)
        track = track[:count]
        if group == "snare" and rng.random() < 0.35:
            track = track + _answering_wires(performance, count, rng)
        level = 10 ** (rng.normal(usual_level_db(pieces[0]), 4) / 20)
        track = effects.equalise(level * track[None], rng, bands=int(rng.integers(0, 4)), most_db=10)
        pan = rng.uniform(0.3, 0.7)
        mix += np.sqrt([[1 - pan], [pan]]) * track
        if rng.random() < 0.6:
            track = effects.add_room(track, rng)
        if rng.random() < 0.25:
            track = effects.compress(track, rng)
        tracks[row] = track[0]
    peak = np.abs(tracks.sum(axis=0)).max() + 1e-9
    return Session((tracks / peak).astype(np.float32), through_studio(mix, rng), only(performance, heard))


def _choose_sounds(
    pieces: tuple[str, ...], home: Kit | None, kits: list[Kit], rng: np.random.Generator
) -> dict[str, list[Sound]]:
    """For each piece of a group a few likenesses of one sound, all of one kit and varied alike."""
    kit = _choose_kit(pieces, home, kits, rng)
    if kit is None:
        return {}
    second = _choose_kit(pieces, None, kits, rng) if rng.random() < 0.25 else None
    ratio, blend = 2 ** (rng.normal(0, 2.0) / 12), 10 ** (rng.uniform(-14, -1) / 20)
    shortest_s = 0.5 if "ride" in pieces else 0.04  # what tells a ride from a hi-hat is how long it rings
    shorten_s = np.exp(rng.uniform(np.log(shortest_s), np.log(shortest_s + 0.6))) if rng.random() < 0.35 else None
    attack = (rng.uniform(0.3, 3.0), rng.uniform(0.003, 0.02)) if rng.random() < 0.35 else None
    loose_s = np.exp(rng.uniform(np.log(0.06), np.log(0.4))) if rng.random() < 0.3 else None
    sounds = {}
    for piece in pieces:
        source, shorter_s = piece, shorten_s
        if piece == "hihat_closed" and loose_s is not None and "hihat_open" in kit.sounds:
            source, shorter_s = "hihat_open", loose_s
        if source not in kit.sounds:
            continue
        sound = kit.sounds[source][rng.integers(len(kit.sounds[source]))]
        if second is not None and source in second.sounds:
            options = second.sounds[source]
            sound = _blend(sound, options[rng.integers(len(options))], blend)
        sounds[piece] = [_vary(sound, ratio * 2 ** (rng.normal(0, 0.15) / 12), shorter_s, attack) for _ in range(2)]
    return sounds


def _choose_kit(pieces: tuple[str, ...], home: Kit | None, kits: list[Kit], rng: np.random.Generator) -> Kit | None:
    """The home kit where it has any of the pieces, else one that has the first of them or, at the least, any."""
    if home is not None and any(piece in home.sounds for piece in pieces):
        return home
    owners = [kit for kit in kits if pieces[0] in kit.sounds] or [
        kit for kit in kits if any(piece in kit.sounds for piece in pieces)
    ]
    sampled = [kit for kit in owners if not kit.name.startswith("formula")]
    formulas = [kit for kit in owners if kit.name.startswith("formula")]
    pool = sampled if sampled and (not formulas or rng.random() < _SAMPLED_SHARE) else formulas
    if not pool:
        return None
    weights = np.array([_weight(kit) for kit in pool])
    return pool[rng.choice(len(pool), p=weights / weights.sum())]


def _weight(kit: Kit) -> float:
    return next((weight for start, weight in _WEIGHT_OF_KIT.items() if kit.name.startswith(start)), 1.0)


def _blend(first: Sound, second: Sound, gain: float) -> Sound:
    """The second sound under the first, softest under softest."""
    layers = []
    for index, layer in enumerate(first.layers):
        other = second.layers[index * len(second.layers) // len(first.layers)]
        mixed = np.zeros(max(len(layer), len(other)), np.float32)
        mixed[: len(layer)] += layer
        mixed[: len(other)] += gain * other
        layers.append(mixed / max(1e-6, np.abs(mixed).max()))
    return Sound(tuple(layers))


def _vary(sound: Sound, ratio: float, shorten_s: float | None, attack: tuple[float, float] | None) -> Sound:
    """Another tuning, a shorter decay, and a gain at the attack that fades to none within some time."""
    layers = []
    for layer in sound.layers:
        tuned = effects.repitch(layer, ratio)
        t = np.arange(len(tuned), dtype=np.float32) / RATE_HZ
        if shorten_s is not None:
            tuned = tuned * np.exp(-t / np.float32(shorten_s))
        if attack is not None:
            gain, length_s = attack
            tuned = tuned * (1 + np.float32(gain - 1) * np.exp(-t / np.float32(length_s)))
            tuned = tuned / max(1e-6, np.abs(tuned).max())
        layers.append(tuned)
    return Sound(tuple(layers))


def _answering_wires(performance: Performance, count: int, rng: np.random.Generator) -> np.ndarray:
    """The rattle of snare wires when the kick and the toms are struck, soft and slow to rise."""
    t = np.arange(round(0.2 * RATE_HZ)) / RATE_HZ
    band = butter(1, [rng.uniform(800, 2_500), rng.uniform(4_000, 10_000)], "bandpass", fs=RATE_HZ, output="sos")
    rattle = sosfilt(band, rng.standard_normal(len(t))) * (1 - np.exp(-t / 0.006))
    rattle *= np.exp(-t / rng.uniform(0.02, 0.07))
    rattle *= 10 ** (rng.uniform(-34, -18) / 20) / np.abs(rattle).max()
    out = np.zeros(count + len(t))
    strikes = np.isin(performance.piece, [PIECES.index(p) for p in ("kick", "tom_low", "tom_mid", "tom_high")])
    for time_s, velocity in zip(performance.time_s[strikes], performance.velocity[strikes], strict=True):
        start = round(time_s * RATE_HZ)
        out[start : start + len(t)] += velocity / 127 * rattle
    return out[:count]
