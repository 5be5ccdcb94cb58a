"""What a studio, a room and a codec do to drums: filters, reverberation, compression, saturation, lossy coding."""

import io

import numpy as np
import soundfile
from scipy.signal import butter, fftconvolve, lfilter, resample_poly, sosfilt

from tasks.models.training.kits import RATE_HZ


def repitch(samples: np.ndarray, ratio: float) -> np.ndarray:
    """Play a sound faster by `ratio`, as a sampler does: (n,) to (n / ratio,)."""
    return resample_poly(samples, 100, max(1, round(100 * ratio))).astype(np.float32)


def equalise(samples: np.ndarray, rng: np.random.Generator, bands: int, most_db: float) -> np.ndarray:
    """A few random bells over the whole range, (channels, n)."""
    for _ in range(bands):
        centre_hz = np.exp(rng.uniform(np.log(50), np.log(14_000)))
        samples = lfilter(*_bell(centre_hz, rng.uniform(0.4, 2.0), rng.uniform(-most_db, most_db)), samples, axis=-1)
    return samples


def _bell(centre_hz: float, quality: float, gain_db: float) -> tuple[np.ndarray, np.ndarray]:
    """A peaking filter. Reference: Zölzer, "DAFX", 2nd edition, section 2.3, by the bilinear transform."""
    tangent = np.tan(np.pi * centre_hz / RATE_HZ)
    gain = 10 ** (abs(gain_db) / 20)
    boost = 1 + gain * tangent / quality + tangent**2
    plain = 1 + tangent / quality + tangent**2
    middle = 2 * (tangent**2 - 1)
    raised = np.array([boost, middle, 1 - gain * tangent / quality + tangent**2])
    flat = np.array([plain, middle, 1 - tangent / quality + tangent**2])
    numerator, denominator = (raised, flat) if gain_db > 0 else (flat, raised)
    return numerator / denominator[0], denominator / denominator[0]


def limit_band(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the bottom or the top, as small microphones, old tapes and low bit rates do."""
    if rng.random() < 0.3:
        samples = sosfilt(butter(2, rng.uniform(25, 90), "highpass", fs=RATE_HZ, output="sos"), samples, axis=-1)
    if rng.random() < 0.3:
        samples = sosfilt(butter(4, rng.uniform(5_000, 16_000), fs=RATE_HZ, output="sos"), samples, axis=-1)
    return samples


def add_room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Early reflections and a decaying tail, other in each channel, (channels, n)."""
    decay_s = rng.choice([rng.uniform(0.05, 0.25), rng.uniform(0.2, 0.9)])
    count = round(min(1.2, 3 * decay_s) * RATE_HZ)
    t = np.arange(count) / RATE_HZ
    out = np.empty_like(samples)
    tone = butter(1, [rng.uniform(80, 300), rng.uniform(2_500, 12_000)], "bandpass", fs=RATE_HZ, output="sos")
    wet = 10 ** (rng.uniform(-30, -3) / 20)
    for channel in range(len(samples)):
        impulse = rng.standard_normal(count) * np.exp(-t / (decay_s / 3))
        impulse[: rng.integers(20, 600)] = 0
        impulse[rng.integers(100, 1_500, 6)] += 8 * rng.uniform(-1, 1, 6)
        impulse = sosfilt(tone, impulse)
        impulse /= np.sqrt((impulse**2).sum())
        out[channel] = samples[channel] + wet * fftconvolve(samples[channel], impulse)[: samples.shape[1]]
    return out


def compress(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bus compressor whose gain moves every 64 samples, (channels, n)."""
    step = 64
    count = samples.shape[1] // step
    level = np.abs(samples[:, : count * step]).max(axis=0).reshape(count, step).max(axis=1)
    release = np.exp(-step / RATE_HZ / rng.uniform(0.03, 0.3))
    attack = np.exp(-step / RATE_HZ / rng.uniform(0.001, 0.02))
    followed, state = np.empty(count), 0.0
    for index, value in enumerate(level):
        state = value + (attack if value > state else release) * (state - value)
        followed[index] = state
    threshold = np.quantile(followed, rng.uniform(0.3, 0.9)) + 1e-6
    ratio = rng.uniform(1.5, 8)
    gain = np.maximum(followed / threshold, 1.0) ** (1 / ratio - 1)
    return samples * np.interp(np.arange(samples.shape[1]), np.arange(count) * step, gain)


def saturate(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soft clipping at a random drive, (channels, n)."""
    peak = np.abs(samples).max() + 1e-9
    drive = rng.uniform(0.5, 4.0)
    return np.tanh(drive * samples / peak) / np.tanh(drive) * peak


def code_lossily(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through Ogg Vorbis at a low to middling quality and back, (channels, n); the coder adds no delay."""
    peak = max(1.0, np.abs(samples).max())
    buffer = io.BytesIO()
    options = {"format": "OGG", "subtype": "VORBIS", "compression_level": float(rng.uniform(0.5, 1.0))}
    with soundfile.SoundFile(buffer, "w", RATE_HZ, len(samples), **options) as file:
        for start in range(0, samples.shape[1], RATE_HZ):  # long blocks overflow the coder's stack
            file.write((samples[:, start : start + RATE_HZ] / peak).T)
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32", always_2d=True)
    out = np.zeros_like(samples)
    count = min(len(decoded), samples.shape[1])
    out[:, :count] = decoded[:count].T * peak
    return out
