"""Puts single hits on a track, and sends a mix through a random studio. Who plays on what is in session.py."""

import numpy as np
from scipy.signal import butter, sosfilt

from tasks.models.training import effects
from tasks.models.training.kits import PIECES, RATE_HZ, Sound
from tasks.models.training.performances import Performance

_CHOKES_OPEN_HIHAT = tuple(PIECES.index(piece) for piece in ("hihat_closed", "hihat_pedal", "hihat_open"))


def usual_level_db(piece: str) -> float:
    """The level at which a piece is usually mixed, beside the kick."""
    return {"kick": 0.0, "snare": -2.0, "hihat_closed": -11.0, "tom_low": -3.0, "crash": -7.0, "ride": -12.0}.get(
        piece, -9.0
    )


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
    """A room, tone, compression, saturation and a codec, each at times: float32 (2, n) with a peak near 1."""
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
