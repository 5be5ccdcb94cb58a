"""Kits from formulas that sound like no acoustic kit struck with sticks: electronic drums and brushes.

What tells an electronic snare from the toms of its kit differs from kit to kit: it is a tom with more noise, long and
falling below a hiss as long; or a deep, damped one with little hiss beside toms that ring and hiss.
"""

import numpy as np
from scipy.signal import butter, sosfilt

from tasks.models.training.kits import RATE_HZ, Kit, Sound, band_noise, decaying_sine, make_kit, make_sound, times

ELECTRONIC_KITS = 60
BRUSH_KITS = 10


def make_odd_kits(seed: int) -> list[Kit]:
    """Electronic kits and brushes, always the same for a seed; each has the pieces that make_kit gives it, too."""
    makers = [make_electronic_kit] * ELECTRONIC_KITS + [make_brush_kit] * BRUSH_KITS
    return [make(np.random.default_rng([seed, 3, index])) for index, make in enumerate(makers)]


def make_electronic_kit(rng: np.random.Generator) -> Kit:
    """Analogue electronic drums, new with every call."""
    sounds = dict(make_kit(rng).sounds)
    sounds["kick"] = [make_sound([_make_kick(rng)])]
    damped = rng.random() < 0.5
    make_snare = _make_damped_snare if damped else _make_snare
    sounds["snare"] = [make_sound([make_snare(rng)])]
    sounds["snare_rim"] = [make_sound([make_snare(rng)])]
    sounds |= _make_toms(rng, most_hiss=1.0 if damped else 0.18)
    if rng.random() < 0.6:
        sounds |= _make_hihats(rng)
    return Kit("formula/electronic", sounds)


def make_brush_kit(rng: np.random.Generator) -> Kit:
    """Brushes on a snare, taps and strokes along the head; a felt beater on the kick."""
    sounds = dict(make_kit(rng).sounds)
    felt_hz, felt_s = rng.uniform(45, 80), rng.uniform(0.06, 0.25)
    sounds["kick"] = [make_sound([decaying_sine(rng, 0.9, felt_hz, felt_s, rng.uniform(0.2, 1.0), 0.01)])]
    low_hz, high_hz = rng.uniform(400, 2_500), rng.uniform(6_000, 14_000)
    tap = _brush(rng, rng.uniform(0.001, 0.012), rng.uniform(0.03, 0.12), low_hz, high_hz)
    stroke = _brush(rng, rng.uniform(0.015, 0.07), rng.uniform(0.06, 0.25), low_hz, high_hz)
    head = decaying_sine(rng, 0.6, rng.uniform(140, 260), rng.uniform(0.03, 0.12), rng.uniform(0, 0.4))
    tap[: len(head)] += rng.uniform(0.05, 0.6) * np.abs(tap).max() * head[: len(tap)]
    sounds["snare"], sounds["snare_rim"] = [make_sound([tap])], [make_sound([stroke if rng.random() < 0.6 else tap])]
    return Kit("formula/brush", sounds)


def _brush(rng: np.random.Generator, rise_s: float, decay_s: float, low_hz: float, high_hz: float) -> np.ndarray:
    return band_noise(rng, 0.8, decay_s, low_hz, high_hz) * (1 - np.exp(-times(0.8) / rise_s))


def _make_kick(rng: np.random.Generator) -> np.ndarray:
    base_hz, decay_s = rng.uniform(38, 75), rng.uniform(0.1, 0.5)
    kick = _falling_tone(rng, base_hz, decay_s, rng.uniform(0.5, 6), rng.uniform(0.01, 0.08))
    click = _to_peak(
        band_noise(rng, 1.2, rng.uniform(0.001, 0.012), rng.uniform(600, 3_000), rng.uniform(5_000, 12_000))
    )
    return np.tanh(rng.uniform(0.5, 3) * (kick + rng.uniform(0, 0.6) * click))


def _make_snare(rng: np.random.Generator) -> np.ndarray:
    """A tone from 12 dB below the hiss to 8 dB above it, which is still twice the hiss of a tom."""
    base_hz = np.exp(rng.uniform(np.log(95), np.log(320)))
    decay_s, hiss_s = np.exp(rng.uniform(np.log(0.04), np.log(0.25), 2))
    tone = _falling_tone(rng, base_hz, decay_s, rng.uniform(0.1, 1.8), rng.uniform(0.01, 0.1))
    hiss = _hiss(rng, hiss_s)
    return _with_click(rng, np.exp(rng.uniform(np.log(0.25), np.log(2.5))) * tone + hiss)


def _make_damped_snare(rng: np.random.Generator) -> np.ndarray:
    """A short, deep tone with an overtone and a little hiss."""
    base_hz, decay_s = rng.uniform(110, 240), np.exp(rng.uniform(np.log(0.025), np.log(0.09)))
    tone = _falling_tone(rng, base_hz, decay_s, rng.uniform(0, 0.6), rng.uniform(0.005, 0.03))
    tone += rng.uniform(0, 0.6) * decaying_sine(rng, 1.2, base_hz * rng.uniform(1.4, 2.1), decay_s)
    return _with_click(rng, tone + rng.uniform(0.1, 0.7) * _hiss(rng, rng.uniform(0.03, 0.15)))


def _make_toms(rng: np.random.Generator, most_hiss: float) -> dict[str, list[Sound]]:
    """Three toms of one setting, each a step deeper, some with noise."""
    base_hz, step = rng.uniform(110, 230), rng.uniform(1.2, 1.6)
    decay_s, sweep, sweep_s = rng.uniform(0.08, 0.4), rng.uniform(0.3, 2.2), rng.uniform(0.03, 0.2)
    hiss_gain, hiss_s = rng.choice([0.0, rng.uniform(0.02, most_hiss)]), rng.uniform(0.02, 0.25)
    sounds = {}
    for index, piece in enumerate(("tom_high", "tom_mid", "tom_low")):
        tone = _falling_tone(rng, base_hz / step**index, decay_s, sweep, sweep_s)
        sounds[piece] = [make_sound([_with_click(rng, tone + hiss_gain * _hiss(rng, hiss_s))])]
    return sounds


def _make_hihats(rng: np.random.Generator) -> dict[str, list[Sound]]:
    """A cluster of square waves or plain noise through a high pass, long, short and shorter."""
    t = times(2.0)
    pitches_hz = rng.uniform(250, 900) * np.sort(rng.uniform(1, 3.2, 6))
    cluster = sum(np.sign(np.sin(2 * np.pi * hz * t + rng.uniform(0, 6.3))) for hz in pitches_hz)
    plain = rng.standard_normal(len(t))
    share = rng.choice([0.0, 1.0, rng.uniform(0, 1)])
    thin = butter(3, rng.uniform(4_000, 9_000), "highpass", fs=RATE_HZ, output="sos")
    source = sosfilt(thin, share * cluster / cluster.std() + (1 - share) * plain)
    closed_s = rng.uniform(0.012, 0.07)
    decays_s = {"hihat_closed": closed_s, "hihat_pedal": closed_s * rng.uniform(0.7, 1.5)}
    decays_s["hihat_open"] = rng.uniform(0.12, 0.5)
    return {piece: [make_sound([source * np.exp(-t / decay_s)])] for piece, decay_s in decays_s.items()}


def _falling_tone(rng: np.random.Generator, base_hz: float, decay_s: float, sweep: float, sweep_s: float) -> np.ndarray:
    """A sine, more or less a triangle, that falls to its pitch."""
    tone = decaying_sine(rng, 1.2, base_hz, decay_s, sweep, sweep_s)
    return tone + rng.choice([0.0, rng.uniform(0, 0.15)]) * decaying_sine(
        rng, 1.2, 3 * base_hz, decay_s, sweep, sweep_s
    )


def _hiss(rng: np.random.Generator, decay_s: float) -> np.ndarray:
    return _to_peak(band_noise(rng, 1.2, decay_s, rng.uniform(200, 2_500), rng.uniform(4_000, 14_000)))


def _with_click(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    click = _to_peak(band_noise(rng, 1.2, rng.uniform(0.001, 0.008), 1_000, 9_000))
    drive = rng.uniform(0.3, 2.5)
    return np.tanh(drive * (samples + rng.choice([0.0, rng.uniform(0, 0.8)]) * click)) / np.tanh(drive)


def _to_peak(samples: np.ndarray) -> np.ndarray:
    return samples / (np.abs(samples).max() + 1e-9)
