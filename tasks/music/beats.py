"""The beat: when it falls, how fast it goes, which beats are downbeats. Bars are chosen in meter.py, onsets in onsets.py."""

from dataclasses import dataclass, field

import numpy as np

from tasks.music.meter import MeterParams, find_bars
from tasks.music.onsets import compute_flux
from tasks.music.signals import LogMel

VERSION = "beat-segments-1"


@dataclass(frozen=True)
class BeatParams:
    """The beat model.

    Attributes:
        tempo_min_bpm, tempo_max_bpm: Range of the beat.
        tempo_change_penalty: Cost of a relative change of the interval from one beat to the next: 100 lets it
            change by 1 % for one unit of log-likelihood.
        beat_width: Share of the interval, centred on the beat, in which a beat is expected to sound.
        confidence_min: Below this the music is taken to have no pulse.
        meter: The bar model.
    """

    tempo_min_bpm: float = 45.0
    tempo_max_bpm: float = 230.0
    tempo_change_penalty: float = 100.0
    beat_width: float = 1 / 8
    confidence_min: float = 0.25
    meter: MeterParams = field(default_factory=MeterParams)


@dataclass(frozen=True)
class Rhythm:
    """Beats in ascending time and what follows from them; empty and None where there is no pulse.

    Attributes:
        time_s: float64 (n,), seconds.
        beat_in_bar: int64 (n,), 1 = downbeat.
        tempo_bpm: Beats a minute.
        tempo_confidence: In [0, 1].
        tempo_alternative_bpm: The next likely tempo, mostly another metrical level.
        tempo_alternative_confidence: In [0, 1].
        time_signature: "4/4", "3/4", "6/8" and so on.
        time_signature_confidence: In [0, 1].
        swing_ratio: Long to short of the halves of the beat, 1 = straight, 2 = triplet swing.
    """

    time_s: np.ndarray
    beat_in_bar: np.ndarray
    tempo_bpm: float | None = None
    tempo_confidence: float = 0.0
    tempo_alternative_bpm: float | None = None
    tempo_alternative_confidence: float = 0.0
    time_signature: str | None = None
    time_signature_confidence: float = 0.0
    swing_ratio: float | None = None


NO_PULSE = Rhythm(np.zeros(0), np.zeros(0, np.int64))
FRAME_RATE_HZ = 50.0
MIN_BEATS = 4


def track_beats(mixture: LogMel, drums: LogMel | None = None, params: BeatParams = BeatParams()) -> Rhythm:
    """Find the beats, the bars and the tempo.

    Args:
        mixture: The spectrogram of the whole track.
        drums: That of its drum stem, where there is one; it has the same frames.
        params: The models.

    Returns:
        The rhythm; `NO_PULSE` for silence, noise, speech and anything shorter than a few beats.

    Reference:
        Krebs, Böck & Widmer, "An efficient state-space model for joint tempo and meter tracking", ISMIR 2015.
    """
    beat, downbeat = _flux_activations(mixture if drums is None else drums)
    frames = decode_beats(beat, params)
    if len(frames) < MIN_BEATS:
        return NO_PULSE
    confidence = float(np.clip((beat[frames].mean() - beat.mean()) / 0.5, 0.0, 1.0))
    if confidence < params.confidence_min:
        return NO_PULSE
    bars = find_bars(downbeat[frames], params.meter)
    time_s = frames / FRAME_RATE_HZ
    return Rhythm(
        time_s=time_s,
        beat_in_bar=bars.beat_in_bar,
        tempo_bpm=_regress_tempo(time_s),
        tempo_confidence=confidence,
        time_signature=f"{bars.beats_per_bar}/4",
        time_signature_confidence=bars.confidence,
    )


def decode_beats(beat: np.ndarray, params: BeatParams = BeatParams()) -> np.ndarray:
    """The likeliest row of beats under a bar pointer of one beat.

    The pointer moves evenly through a beat and may change its tempo only from one beat to the next, so a whole beat
    can be scored at once from running sums; a step of the recursion covers as many frames as the shortest beat has.

    Args:
        beat: float (frames,) at FRAME_RATE_HZ, the probability of a beat, in (0, 1).
        params: Range and stiffness of the tempo.

    Returns:
        Frames of the beats, int64, ascending; none for no frames.
    """
    shortest = round(60.0 * FRAME_RATE_HZ / params.tempo_max_bpm)
    longest = round(60.0 * FRAME_RATE_HZ / params.tempo_min_bpm)
    if len(beat) < shortest:
        return np.zeros(0, np.int64)
    interval = np.arange(shortest, longest + 1)
    half = np.maximum(0, np.round(interval * params.beat_width / 2).astype(int))
    change = -params.tempo_change_penalty * np.abs(interval[None, :] / interval[:, None] - 1.0)
    change -= np.log(np.exp(change).sum(axis=1, keepdims=True))

    # Silence that costs nothing on both sides lets the first and the last beat fall anywhere.
    sounding = np.clip(np.asarray(beat, np.float64), 1e-4, 1 - 1e-4)
    margin = longest + half.max() + shortest
    on = np.pad(np.log(sounding), margin)
    off = np.pad(np.log1p(-sounding) - np.log(1.0 / params.beat_width - 1.0), margin)
    on, off = (np.concatenate([[0.0], np.cumsum(x)]) for x in (on, off))

    total = len(beat) + 2 * margin
    leaving = np.full((total, len(interval)), -np.inf, np.float32)  # best score of a beat here whose next is this long
    came_from = np.zeros((total, len(interval)), np.uint8)
    first, last = margin - longest, margin + len(beat) + longest
    leaving[first : first + longest] = -np.log(len(interval))
    best = np.full((total, len(interval)), -np.inf, np.float32)
    for start in range(first + shortest, last, shortest):
        t = np.arange(start, min(start + shortest, last))[:, None]
        s = t - interval
        segment = on[s + half + 1] - on[s - half] + off[t - half] - off[s + half + 1]
        arriving = leaving[s, np.arange(len(interval))] + segment
        best[t[:, 0]] = arriving
        joined = arriving[:, :, None] + change[None]
        came_from[t[:, 0]] = joined.argmax(axis=1)
        np.maximum(leaving[t[:, 0]], joined.max(axis=1), out=joined[:, 0])
        leaving[t[:, 0]] = joined[:, 0]
    tail = best[margin + len(beat) : last]
    t, i = np.unravel_index(tail.argmax(), tail.shape)
    t += margin + len(beat)
    beats = []
    while t - interval[i] >= margin:
        t = t - interval[i]
        beats.append(t)
        i = came_from[t, i]
    frames = np.array(beats[::-1], np.int64) - margin
    return frames[(frames >= 0) & (frames < len(beat))]


def _flux_activations(mel: LogMel) -> tuple[np.ndarray, np.ndarray]:
    """Beat and downbeat probability from the rise of the whole spectrum and of its lowest bands, at FRAME_RATE_HZ."""
    step = round(1 / FRAME_RATE_HZ / mel.hop_s)
    low = LogMel(mel.values[:8], mel.hop_s)
    curves = []
    for part in (mel, low):
        flux = compute_flux(part)
        flux = np.maximum.reduceat(flux, np.arange(0, len(flux), step)) if len(flux) else flux
        scale = np.quantile(flux, 0.98) if len(flux) else 1.0
        curves.append(np.clip(flux / max(scale, 0.02), 0.0, 1.0))
    return 0.5 * curves[0] + 0.4 * curves[1], 0.1 + 0.8 * curves[1]


def _regress_tempo(time_s: np.ndarray, span: int = 16) -> float:
    """Beats a minute: the median slope of straight lines through `span` + 1 beats each."""
    span = min(span, len(time_s) - 1)
    index = np.arange(span + 1) - span / 2
    windows = np.lib.stride_tricks.sliding_window_view(time_s, span + 1)
    return float(60.0 / np.median(windows @ index / (index @ index)))
