"""What the pulse network hears, and the likeliest row of beats in it."""

from dataclasses import dataclass

import numpy as np

FRAME_RATE_HZ = 50.0  # of `Pulse`
TEMPI_BPM = tuple(38.0 * 1.042**step for step in range(50))  # whose chances are in `Pulse`; the last is 284


@dataclass(frozen=True)
class Pulse:
    """What the network hears, at FRAME_RATE_HZ; frame i is centred at i / FRAME_RATE_HZ seconds.

    Attributes:
        beat: float32 (frames,), probability that a beat falls here.
        downbeat: float32 (frames,), that it is the first of a bar.
        meter: float32 (len(METERS), frames), probability of each meter; "none" is music without a pulse, or no music.
        tempo: float16 (len(TEMPI_BPM), frames), probability of each tempo of the beat.
    """

    beat: np.ndarray
    downbeat: np.ndarray
    meter: np.ndarray
    tempo: np.ndarray


@dataclass(frozen=True)
class DecodingParams:
    """The model of a row of beats.

    Attributes:
        tempo_min_bpm, tempo_max_bpm: Range of the beat.
        tempo_change_penalty: Cost of a relative change of the interval from one beat to the next: 100 lets it
            change by 1 % for one unit of log-likelihood.
        beat_reach: How many frames around its own a beat is heard in.
        beat_odds: How much rarer beats are than frames between them: the higher, the fainter beats are followed.
    """

    tempo_min_bpm: float = 45.0
    tempo_max_bpm: float = 270.0
    tempo_change_penalty: float = 100.0
    beat_reach: int = 1
    beat_odds: float = 7.0


def blend_pulses(mixture: Pulse, drums: Pulse, weight: float) -> Pulse:
    """The weighted mean of what is heard in the mixture and in its drums."""

    def mean(of_mixture: np.ndarray, of_drums: np.ndarray) -> np.ndarray:
        frames = min(of_mixture.shape[-1], of_drums.shape[-1])
        return (1.0 - weight) * of_mixture[..., :frames] + weight * of_drums[..., :frames]

    return Pulse(
        mean(mixture.beat, drums.beat),
        mean(mixture.downbeat, drums.downbeat),
        mean(mixture.meter, drums.meter),
        mean(mixture.tempo, drums.tempo),
    )


def decode_beats(beat: np.ndarray, params: DecodingParams = DecodingParams()) -> np.ndarray:
    """The likeliest row of beats under a bar pointer that is one beat long.

    The pointer moves evenly through a beat and may change its tempo only from one beat to the next. So a whole beat
    is scored at once, from running sums of the frames' scores, and a step of the recursion covers as many frames as
    the shortest beat has. The first and the last beat may fall anywhere.

    Args:
        beat: float (frames,) at FRAME_RATE_HZ, the probability of a beat.
        params: Range and stiffness of the tempo.

    Returns:
        Frames of the beats, int64, ascending; none where there are fewer frames than in the shortest beat.

    Reference:
        Krebs, Böck & Widmer, "An efficient state-space model for joint tempo and meter tracking", ISMIR 2015.
    """
    shortest = round(60.0 * FRAME_RATE_HZ / params.tempo_max_bpm)
    longest = round(60.0 * FRAME_RATE_HZ / params.tempo_min_bpm)
    if len(beat) < shortest:
        return np.zeros(0, np.int64)
    interval = np.arange(shortest, longest + 1)
    column = np.arange(len(interval))
    half = params.beat_reach
    change = -params.tempo_change_penalty * np.abs(interval[None, :] / interval[:, None] - 1.0)
    change = (change - np.log(np.exp(change).sum(axis=1, keepdims=True))).astype(np.float32)

    # Frames that cost nothing lie on both sides; `on` and `off` are running sums, so that on[b] - on[a] covers [a, b).
    margin = 2 * longest
    sounding = np.clip(beat.astype(np.float64), 1e-4, 1 - 1e-4)
    on = np.cumsum(np.pad(np.log(sounding), (margin + 1, margin)))
    off = np.cumsum(np.pad(np.log1p(-sounding) - np.log(params.beat_odds), (margin + 1, margin)))

    begin, end = margin - longest, margin + len(beat) + longest  # where beats may fall
    # The scores of a beat here before an interval; no step looks further back than this, so they lie in a ring.
    leaving = np.full((longest + shortest, len(interval)), -np.inf, np.float32)
    leaving[np.arange(begin, margin) % len(leaving)] = 0.0
    last = np.full((longest, len(interval)), -np.inf, np.float32)  # of a last beat after the end, after an interval
    came_from = np.zeros((end, len(interval)), np.uint8)
    for start in range(margin, end, shortest):
        now = np.arange(start, min(start + shortest, end))
        before = now[:, None] - interval
        score = on[before + half + 1] - on[before - half] + off[now[:, None] - half] - off[before + half + 1]
        arrived = (leaving[before % len(leaving), column] + score).astype(np.float32)
        joined = arrived[:, :, None] + change
        came_from[now] = joined.argmax(axis=1)
        leaving[now % len(leaving)] = joined.max(axis=1)
        beyond = now >= margin + len(beat)
        last[now[beyond] - margin - len(beat)] = arrived[beyond]

    now, best = np.unravel_index(last.argmax(), last.shape)
    now += margin + len(beat)
    frames = []
    while now - interval[best] >= margin:
        now -= interval[best]
        frames.append(now - margin)
        best = came_from[now, best]
    return np.array(frames[::-1], np.int64)


def regress_tempo(time_s: np.ndarray, span: int = 16) -> float:
    """Beats a minute: the median slope of straight lines through `span` + 1 beats each.

    One slipped beat does not move it; a piece that changes its tempo gets the tempo of its middle. Needs at least two
    beats, `time_s` (n,) in seconds.
    """
    span = min(span, len(time_s) - 1)
    index = np.arange(span + 1) - span / 2
    windows = np.lib.stride_tricks.sliding_window_view(time_s, span + 1)
    return float(60.0 / np.median(windows @ index / (index @ index)))


def place_between_frames(beat: np.ndarray, frames: np.ndarray, reach: int = 2) -> np.ndarray:
    """Seconds of the beats at `frames`, float64 (n,): the centre of mass of the activation `beat` around each."""
    around = np.clip(frames[:, None] + np.arange(-reach, reach + 1), 0, len(beat) - 1)
    weight = beat[around].astype(np.float64) ** 2 + 1e-6
    return (around * weight).sum(axis=1) / weight.sum(axis=1) / FRAME_RATE_HZ


def share_near(curve: np.ndarray, frames: np.ndarray, reach: int = 2) -> float:
    """The share of a curve's area that lies within `reach` frames of these, in (0, 1]."""
    near = np.zeros(len(curve), bool)
    around = (frames[:, None] + np.arange(-reach, reach + 1)).ravel()
    near[around[(around >= 0) & (around < len(curve))]] = True
    return float((curve[near].sum() + 0.01) / (curve.sum() + 0.01))


def peak_near(curve: np.ndarray, frames: np.ndarray, reach: int = 2) -> np.ndarray:
    """The largest value of a curve within `reach` frames of each of these, (n,)."""
    around = frames[:, None] + np.arange(-reach, reach + 1)
    return curve[np.clip(around, 0, len(curve) - 1)].max(axis=1)
