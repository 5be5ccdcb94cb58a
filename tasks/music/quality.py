"""Levels of a recording and what they say about its technical quality. Nothing here judges the music.

`LevelStream` measures in one pass over the blocks: loudness as ITU-R BS.1770-4 says, peak, clipping, silence, offset,
bandwidth and steady noise. `score_quality` folds them into one number.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tasks.music.signals import SAMPLE_RATE_HZ

VERSION = "bs1770-levels-2"
STEP_SAMPLES = 4_410  # 100 ms: the step of BS.1770's gating blocks
STEPS_A_BLOCK = 4  # 400 ms, so neighbours overlap by 75 %
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
SILENCE_DB = -60.0  # RMS of a 100 ms step, full scale = 0
CLIP_LEVEL = 0.995
CLIP_RUN_SAMPLES = 3  # a wave that touches full scale once is not clipped; one that stays there is
SPECTRUM_SAMPLES = 4_096
BANDWIDTH_RANGE_DB = 45.0  # below the strongest octave a listener hears no more content
NOISE_BANDS = 22
NOISE_BAND_BINS = 93  # 1 kHz: wide enough that the level of a noise varies by 0.6 dB only
STEADY_DB = 2.5  # a band whose quietest tenth lies less than this below its mean never falls: it is noise
MIN_NOISE_FRAMES = 10


@dataclass(frozen=True)
class Levels:
    """What `LevelStream` measured; None where there was nothing to measure.

    Attributes:
        loudness_lufs: Integrated, gated loudness; None below the absolute gate (-70 LUFS) or under 400 ms.
        peak_db: Largest sample, full scale = 0 dB; None for digital silence.
        clipping_ratio: Share of samples in runs of three or more at full scale, of the worse channel.
        silence_ratio: Share of 100 ms steps below -60 dB RMS; 1 for an empty recording.
        dc_offset: Largest mean of a channel, full scale = 1.
        bandwidth_hz: Highest frequency with content; None for silence.
        noise_db: Level of a noise that is always there, below the level of the whole; None under 4 s or for silence.
    """

    loudness_lufs: float | None
    peak_db: float | None
    clipping_ratio: float
    silence_ratio: float
    dc_offset: float
    bandwidth_hz: float | None
    noise_db: float | None


@dataclass
class LevelStream:
    """Measures blocks of audio at SAMPLE_RATE_HZ; keeps about eight numbers a 100 ms step."""

    _filter_state: np.ndarray | None = field(default=None, init=False)
    _tail: np.ndarray | None = field(default=None, init=False)
    _weighted_tail: np.ndarray | None = field(default=None, init=False)
    _weighted_power: list[np.ndarray] = field(default_factory=list, init=False)
    _power: list[np.ndarray] = field(default_factory=list, init=False)
    _clip_runs: np.ndarray | None = field(default=None, init=False)
    _clipped: np.ndarray | float = field(default=0.0, init=False)
    _sums: np.ndarray | float = field(default=0.0, init=False)
    _peak: float = field(default=0.0, init=False)
    _samples: int = field(default=0, init=False)
    _steps: int = field(default=0, init=False)
    _spectrum: np.ndarray = field(default_factory=lambda: np.zeros(SPECTRUM_SAMPLES // 2 + 1), init=False)
    _band_power: list[np.ndarray] = field(default_factory=list, init=False)

    def push(self, block: np.ndarray) -> None:
        """Take float32 samples (channels, n), always as many channels."""
        from scipy.signal import sosfilt

        if not block.shape[1]:
            return
        if self._tail is None:
            channels = block.shape[0]
            self._filter_state = np.zeros((2, channels, 2))
            self._tail, self._weighted_tail = np.zeros((channels, 0), np.float32), np.zeros((channels, 0))
            self._clip_runs = np.zeros(channels, int)
        self._samples += block.shape[1]
        self._sums = self._sums + block.sum(axis=1, dtype=np.float64)
        peak = max(float(block.max()), -float(block.min()))
        self._peak = max(self._peak, peak)
        self._count_clipping(np.abs(block) >= CLIP_LEVEL if peak >= CLIP_LEVEL else None)

        weighted, self._filter_state = sosfilt(k_weighting(), block, axis=1, zi=self._filter_state)
        power, self._weighted_tail = _step_powers(np.concatenate([self._weighted_tail, weighted], axis=1))
        self._weighted_power.append(power.sum(axis=0))
        buffer = np.concatenate([self._tail, block], axis=1)
        power, self._tail = _step_powers(buffer)
        self._power.append(power.mean(axis=0))
        self._add_spectra(buffer.mean(axis=0))

    def finish(self) -> Levels:
        """The levels of everything pushed; the stream is spent."""
        power = np.concatenate(self._power) if self._power else np.zeros(0)
        steps_db = 10 * np.log10(np.maximum(power, 1e-20))
        sounding_db = steps_db[steps_db > SILENCE_DB]
        weighted = np.concatenate(self._weighted_power) if self._weighted_power else np.zeros(0)
        return Levels(
            loudness_lufs=integrate_loudness(weighted),
            peak_db=float(20 * np.log10(self._peak)) if self._peak > 0 else None,
            clipping_ratio=float(np.max(self._clipped) / self._samples) if self._samples else 0.0,
            silence_ratio=float(1 - len(sounding_db) / len(steps_db)) if len(steps_db) else 1.0,
            dc_offset=float(np.max(np.abs(self._sums)) / self._samples) if self._samples else 0.0,
            bandwidth_hz=measure_bandwidth(self._spectrum),
            noise_db=measure_noise(np.concatenate(self._band_power)) if self._band_power else None,
        )

    def _count_clipping(self, at_limit: np.ndarray | None) -> None:
        """Add the samples of this block in runs at full scale, None without any; a run goes on from block to block."""
        if at_limit is None:
            self._clip_runs[:] = 0
            return
        clipped = np.zeros(len(at_limit))
        for channel, row in enumerate(at_limit):
            edges = np.flatnonzero(np.diff(row, prepend=False, append=False)).reshape(-1, 2)
            for start, end in edges:
                before = self._clip_runs[channel] if start == 0 else 0
                run = before + end - start
                if run >= CLIP_RUN_SAMPLES:
                    clipped[channel] += run - (before if before >= CLIP_RUN_SAMPLES else 0)
            ends_high = len(edges) and edges[-1, 1] == len(row)
            whole = ends_high and edges[-1, 0] == 0
            tail = edges[-1, 1] - edges[-1, 0] if ends_high else 0
            self._clip_runs[channel] = tail + (self._clip_runs[channel] if whole else 0)
        self._clipped = self._clipped + clipped

    def _add_spectra(self, mono: np.ndarray) -> None:
        """Add the power spectra of frames that begin at every fourth step."""
        from scipy.fft import rfft

        usable = len(mono) // STEP_SAMPLES * STEP_SAMPLES
        if usable:
            frames = mono[:usable].reshape(-1, STEP_SAMPLES)[
                -self._steps % STEPS_A_BLOCK :: STEPS_A_BLOCK, :SPECTRUM_SAMPLES
            ]
            self._steps += usable // STEP_SAMPLES
            spectra = np.abs(rfft(frames * np.hanning(SPECTRUM_SAMPLES), axis=1)) ** 2
            self._spectrum += spectra.sum(axis=0)
            bands = spectra[:, 1 : 1 + NOISE_BANDS * NOISE_BAND_BINS].reshape(
                len(spectra), NOISE_BANDS, NOISE_BAND_BINS
            )
            self._band_power.append(bands.sum(axis=2).astype(np.float32))


def integrate_loudness(step_power: np.ndarray) -> float | None:
    """Integrated loudness of K-weighted powers.

    Args:
        step_power: (steps,), mean square of each 100 ms, summed over channels (left and right weigh 1).

    Returns:
        LUFS; None where no 400 ms block is above the absolute gate.

    Reference:
        ITU-R BS.1770-4 (2015), annex 1.
    """
    if len(step_power) < STEPS_A_BLOCK:
        return None
    blocks = np.convolve(step_power, np.ones(STEPS_A_BLOCK) / STEPS_A_BLOCK, mode="valid")
    blocks = blocks[blocks > _power_of(ABSOLUTE_GATE_LUFS)]
    if not len(blocks):
        return None
    blocks = blocks[blocks > blocks.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
    return float(-0.691 + 10 * np.log10(blocks.mean()))


@lru_cache(maxsize=1)
def k_weighting() -> np.ndarray:
    """The K-weighting filter at SAMPLE_RATE_HZ as second-order sections, (2, 6): a high shelf, then a high pass.

    Reference:
        ITU-R BS.1770-4 gives coefficients at 48 kHz only; the analogue parameters behind them are those of B. De Man,
        "Evaluation of implementations of the EBU R128 loudness measurement", AES 145, 2018.
    """
    shelf_hz, shelf_db, shelf_q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    pass_hz, pass_q = 38.13547087602444, 0.5003270373238773

    k = np.tan(np.pi * shelf_hz / SAMPLE_RATE_HZ)
    high = 10 ** (shelf_db / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / shelf_q + k**2
    shelf = [
        (high + band * k / shelf_q + k**2) / a0,
        2 * (k**2 - high) / a0,
        (high - band * k / shelf_q + k**2) / a0,
        1.0,
        2 * (k**2 - 1) / a0,
        (1 - k / shelf_q + k**2) / a0,
    ]
    k = np.tan(np.pi * pass_hz / SAMPLE_RATE_HZ)
    a0 = 1 + k / pass_q + k**2
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k**2 - 1) / a0, (1 - k / pass_q + k**2) / a0]
    return np.array([shelf, high_pass])


def score_quality(levels: Levels) -> float:
    """Rate how usable a recording is, from 0 (nothing to hear) to 1 (clean and full).

    The product of five factors, so that one bad fault cannot be outweighed by virtues:

    - sound: the share of the recording that is not silent counts fully from one half on;
    - clipping: 1 without, one half at 0.5 % clipped samples, towards 0 above;
    - bandwidth: 1 from 15 kHz, 0.35 at 3.4 kHz (telephone), on a logarithmic scale;
    - noise: 1 where a steady noise lies 30 dB below the whole, 0.6 at 10 dB, 0.2 where there is nothing else;
    - level: 1, down to 0.5 for a recording below -40 LUFS or with an offset of a tenth of full scale.
    """
    if levels.peak_db is None or levels.silence_ratio >= 1.0 or levels.bandwidth_hz is None:
        return 0.0
    sound = min(1.0, 2 * (1 - levels.silence_ratio))
    clipping = 1 / (1 + levels.clipping_ratio / 0.005)
    bandwidth = np.interp(np.log(levels.bandwidth_hz), np.log([500, 3_400, 8_000, 15_000]), [0.05, 0.35, 0.75, 1.0])
    noise = 1.0 if levels.noise_db is None else np.interp(levels.noise_db, [-30, -10, 0], [1.0, 0.6, 0.2])
    loudness = -70.0 if levels.loudness_lufs is None else levels.loudness_lufs
    level = np.interp(loudness, [-60, -40, -30], [0.5, 0.75, 1.0]) * np.interp(levels.dc_offset, [0.01, 0.1], [1, 0.5])
    return float(np.clip(sound * clipping * bandwidth * noise * level, 0.0, 1.0))


def measure_bandwidth(spectrum: np.ndarray) -> float | None:
    """Highest frequency with content, in Hz, of a power spectrum (bins,); None for silence.

    Levels are compared per octave, since music falls by some 3 dB an octave all by itself.
    """
    width = 8  # bins, 86 Hz: smooths single lines away
    bins_hz = np.arange(len(spectrum)) * SAMPLE_RATE_HZ / SPECTRUM_SAMPLES
    octave = np.convolve(spectrum * bins_hz, np.ones(width) / width, mode="same")
    if octave.max() <= 1e-12:
        return None
    return float(bins_hz[np.flatnonzero(octave > octave.max() * 10 ** (-BANDWIDTH_RANGE_DB / 10))[-1]])


def measure_noise(band_power: np.ndarray) -> float | None:
    """Level of the bands that never fall, below the level of all, in dB of powers (frames, bands).

    Notes end, a hiss, a hum or a crowd does not. None for silence and for too few frames to know what never falls.
    """
    sounding = band_power[band_power.sum(axis=1) > 1e-3 * band_power.sum(axis=1).mean()]
    if len(sounding) < MIN_NOISE_FRAMES or band_power.max() <= 0:
        return None
    mean, floor = sounding.mean(axis=0), np.percentile(sounding, 10, axis=0)
    steady = floor > mean * 10 ** (-STEADY_DB / 10)
    return float(10 * np.log10(max(1e-9, floor[steady].sum() / mean.sum())))


def _step_powers(buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares of the whole steps, (channels, steps), and the samples that remain."""
    steps = buffer.shape[1] // STEP_SAMPLES
    whole = buffer[:, : steps * STEP_SAMPLES].reshape(len(buffer), steps, STEP_SAMPLES)
    return np.einsum("csn,csn->cs", whole, whole) / STEP_SAMPLES, buffer[:, steps * STEP_SAMPLES :].copy()


def _power_of(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)
