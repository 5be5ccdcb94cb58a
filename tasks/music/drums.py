"""Drum hits: the vocabulary of drums, peak picking, and a transcriber of plain signal processing.

The only place that holds General MIDI drum numbers. `pick_hits` turns activations, wherever they come from, into hits;
`detect_hits` makes activations from the spectral flux of a few bands. Networks are in tasks/models/drums.py.
"""

from dataclasses import dataclass

import numpy as np

from tasks.music.signals import HOP_S, LogMel, mel_centres_hz

VERSION = "bandflux-1"

KICK_NOTES = (36, 35)
SNARE_NOTES = (38, 40)
HIHAT_NOTES = (42, 44, 46)
TOM_NOTES = (45, 41, 43, 47, 48, 50)
CRASH_NOTES = (49, 57, 52, 55)
RIDE_NOTES = (51, 59, 53)

# In the order of hits at the same time. The first note of each is the one written.
NOTES_OF_INSTRUMENT = {
    "kick": KICK_NOTES,
    "snare": SNARE_NOTES,
    "hihat": HIHAT_NOTES,
    "tom": TOM_NOTES,
    "crash": CRASH_NOTES,
    "ride": RIDE_NOTES,
}
INSTRUMENTS = ("kick", "snare", "hihat")


def midi_note_of(instrument: str) -> int:
    """The General MIDI note that stands for an instrument, 36 for the kick."""
    return NOTES_OF_INSTRUMENT[instrument][0]


def instrument_of(midi_note: int) -> str | None:
    """The instrument of a General MIDI drum note; None for those that are not transcribed."""
    return next((name for name, notes in NOTES_OF_INSTRUMENT.items() if midi_note in notes), None)


@dataclass(frozen=True)
class Hits:
    """Drum hits in ascending time; hits at the same time in the order of their instruments.

    Attributes:
        time_s: float64 (n,), seconds from the start of the signal.
        instrument: str (n,), names from `NOTES_OF_INSTRUMENT`.
        velocity: int64 (n,), 1 to 127.
        confidence: float32 (n,), 0 to 1.
    """

    time_s: np.ndarray
    instrument: np.ndarray
    velocity: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.time_s)


@dataclass(frozen=True)
class PeakParams:
    """How activations become hits.

    Attributes:
        thresholds: The least activation that is a hit, one for each instrument.
        min_gap_s: The least time between two hits of one instrument.
    """

    thresholds: tuple[float, ...] = (0.5, 0.5, 0.5)
    min_gap_s: float = 0.04


def pick_hits(
    activations: np.ndarray,
    velocities: np.ndarray | None = None,
    instruments: tuple[str, ...] = INSTRUMENTS,
    params: PeakParams = PeakParams(),
    hop_s: float = HOP_S,
) -> Hits:
    """Take the peaks of the activations as hits, at times between the frames.

    A peak is above its instrument's threshold and the greatest value within `min_gap_s` on both sides. A parabola
    through the peak and its neighbours gives the time. The confidence is 0.5 at the threshold and 1 at an activation
    of 1.

    Args:
        activations: float (instruments, frames), 0 to 1.
        velocities: float (instruments, frames), 0 to 1, read at the peaks; the activations where None.
        instruments: The names of the rows.
        params: Thresholds and the least gap.
        hop_s: Seconds between frames.

    Returns:
        Hits; none where nothing reaches its threshold.
    """
    loudness = activations if velocities is None else velocities
    frames, rows = [np.zeros(0, int)], [np.zeros(0, int)]
    for row, threshold in enumerate(params.thresholds):
        peaks = _peaks(activations[row], threshold, max(1, round(params.min_gap_s / hop_s)))
        frames.append(peaks)
        rows.append(np.full(len(peaks), row))
    frame, row = np.concatenate(frames), np.concatenate(rows)
    time_s = np.maximum((frame + _parabola_offset(activations, row, frame)) * hop_s, 0.0)
    order = np.lexsort((row, time_s))
    frame, row, time_s = frame[order], row[order], time_s[order]

    threshold = np.asarray(params.thresholds)[row]
    confidence = 0.5 + 0.5 * (activations[row, frame] - threshold) / np.maximum(1.0 - threshold, 1e-6)
    return Hits(
        time_s=time_s,
        instrument=np.asarray(instruments)[row],
        velocity=np.clip(np.rint(127.0 * loudness[row, frame]), 1, 127).astype(np.int64),
        confidence=np.clip(confidence, 0.0, 1.0).astype(np.float32),
    )


def _peaks(activation: np.ndarray, threshold: float, gap: int) -> np.ndarray:
    """Frames whose value is the greatest within `gap` frames; of equal neighbours the first."""
    from scipy.ndimage import maximum_filter1d

    highest = activation == maximum_filter1d(activation, 2 * gap + 1, mode="constant", cval=-np.inf)
    peaks = np.flatnonzero(highest & (activation >= threshold))
    return peaks[np.diff(peaks, prepend=-gap - 1) > gap]


def _parabola_offset(activations: np.ndarray, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Where the vertex lies from each peak, in frames within ±0.5; 0 at the first and the last frame."""
    last = activations.shape[1] - 1
    before = activations[row, np.maximum(frame - 1, 0)].astype(np.float64)
    at = activations[row, frame].astype(np.float64)
    after = activations[row, np.minimum(frame + 1, last)].astype(np.float64)
    bend = before - 2.0 * at + after
    offset = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend < 0)
    return np.where((frame == 0) | (frame == last), 0.0, np.clip(offset, -0.5, 0.5))


@dataclass(frozen=True)
class BandFluxParams:
    """The bands whose rise is a hit.

    Attributes:
        lag_frames: The rise is measured over this many frames; an attack passes through the window in 5.
        delay_s: How long after the hit the rise is greatest.
        rise_of_half: The rise of a band, in the unit of `LogMel`, at which the activation is 0.5.
        full_level: The level of the band just after a hit of velocity 127.
    """

    kick_hz: tuple[float, float] = (35.0, 110.0)
    snare_body_hz: tuple[float, float] = (150.0, 450.0)
    snare_wires_hz: tuple[float, float] = (1_800.0, 6_000.0)
    hihat_hz: tuple[float, float] = (7_000.0, 16_000.0)
    lag_frames: int = 3
    delay_s: float = 0.005
    rise_of_half: tuple[float, float, float] = (0.50, 0.40, 0.22)
    full_level: tuple[float, float, float] = (2.6, 2.0, 1.4)


def detect_hits(mixture: LogMel, drums: LogMel | None = None, params: BandFluxParams = BandFluxParams()) -> Hits:
    """Transcribe kick, snare and hi-hat from the rise of a few bands.

    Plain and weak: a bass note can pass for a kick and a hi-hat under a snare is lost.

    Args:
        mixture: The spectrogram of the whole music, read where there is no drum stem.
        drums: The spectrogram of the drum stem.
        params: Bands and levels.

    Returns:
        Hits; none for silence or where nothing rises steeply.

    Reference:
        Rise over a maximum-filtered past: Böck & Widmer, "Maximum filter vibrato suppression for onset detection",
        DAFx 2013.
    """
    source = mixture if drums is None else drums
    rises = _band_rises(source.values, params)
    halves = np.asarray(params.rise_of_half)[:, None]
    velocities = np.clip(_band_levels(source.values, params) / np.asarray(params.full_level)[:, None], 0.0, 1.0)
    hits = pick_hits(rises / (rises + halves), velocities, hop_s=source.hop_s)
    return Hits(np.maximum(hits.time_s - params.delay_s, 0.0), hits.instrument, hits.velocity, hits.confidence)


def _band_rises(log_mel: np.ndarray, params: BandFluxParams) -> np.ndarray:
    """The rise of kick, snare and hi-hat, (3, frames), each less what the louder drum beside it explains."""
    rise = _rise(log_mel, params.lag_frames)
    kick, body, wires, hihat = (
        _band_mean(rise, band)
        for band in (params.kick_hz, params.snare_body_hz, params.snare_wires_hz, params.hihat_hz)
    )
    snare = np.sqrt(body * wires)
    return np.stack([np.maximum(kick - 0.3 * snare, 0), snare, np.maximum(hihat - 0.6 * snare, 0)])


def _band_levels(log_mel: np.ndarray, params: BandFluxParams) -> np.ndarray:
    """The level of the band of kick, snare (its wires) and hi-hat within the next lag, (3, frames)."""
    from scipy.ndimage import maximum_filter1d

    lag = params.lag_frames
    levels = np.stack([_band_mean(log_mel, band) for band in (params.kick_hz, params.snare_wires_hz, params.hihat_hz)])
    return maximum_filter1d(levels, lag + 1, axis=1, origin=-((lag + 1) // 2))


def _rise(log_mel: np.ndarray, lag: int) -> np.ndarray:
    """How far each band is above itself and its neighbours `lag` frames ago, never below 0."""
    from scipy.ndimage import maximum_filter1d

    past = np.pad(maximum_filter1d(log_mel, 3, axis=0), ((0, 0), (lag, 0)))[:, : log_mel.shape[1]]
    return np.maximum(log_mel - past, 0.0)


def _band_mean(values: np.ndarray, band_hz: tuple[float, float]) -> np.ndarray:
    centres_hz = mel_centres_hz()
    return values[(centres_hz >= band_hz[0]) & (centres_hz <= band_hz[1])].mean(axis=0)
