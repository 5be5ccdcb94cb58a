"""The grid of a short drum loop, from its onsets and its length alone.

A loop of a bar or two is over before the pulse network (tasks/models/pulse.py) is sure of anything. But it begins where
a bar begins, keeps its tempo and is mostly cut to whole bars: tempo and start that explain its onsets best are found by
trying them all.
"""

from dataclasses import dataclass, replace

import numpy as np

from tasks.music.meter import BEATS_PER_BAR
from tasks.music.onsets import Onsets

TIME_SIGNATURE = "4/4"
BEATS = BEATS_PER_BAR[TIME_SIGNATURE]  # of a bar
SAME_TEMPO = 0.04  # tempi that differ by less are one

# Where in a beat drums are struck, with the share of the onsets at each place.
PLACES = ((0, 0.42), (1 / 4, 0.12), (1 / 2, 0.28), (3 / 4, 0.14), (1 / 3, 0.02), (2 / 3, 0.02))
STROKE_SPREAD_S = 0.015  # standard deviation of onsets around their places
STRAY_SHARE = 0.1  # of the onsets, which lie anywhere


@dataclass(frozen=True)
class LoopParams:
    """Which loops are thought of.

    Attributes:
        longest_s: From the first onset to the last; the pulse network judges what is longer.
        fewest_onsets: Fewer are no rhythm.
        tempo_min_bpm, tempo_max_bpm, tempo_step: Range of the tempi that are tried, and their distance as a factor.
        usual_tempo_bpm: The likeliest tempo.
        tempo_spread: Standard deviation of the logarithm of tempi around it.
        start_reach_s, start_step_s: How far from the first onset the first bar may begin, and the distance of the
            places that are tried.
        most_evidence: Onsets repeat each other: more than so many count as so many.
        whole_bars: The number of bars that loops are cut to.
        whole_bars_gain: What a length of exactly so many bars adds to the score, in its logarithm.
        longest_rest: Bars from the last onset to the end; after more of them nothing was cut there.
        length_spread: Standard deviation of the length of loops, as a share.
        least_bars: Files are no shorter than this.
        part_of_bar: A last bar that less than this is played of does not count.
        min_other: Less probability of another tempo is not worth mentioning.
        most_others: So many of them are mentioned.
        sureness: Power of the scores that makes them probabilities: so that as many tempi are right as are said to be.
    """

    longest_s: float = 8.0
    fewest_onsets: int = 4
    tempo_min_bpm: float = 60.0
    tempo_max_bpm: float = 200.0
    tempo_step: float = 1.0025
    usual_tempo_bpm: float = 112.0
    tempo_spread: float = 0.7
    start_reach_s: float = 0.02
    start_step_s: float = 0.005
    most_evidence: int = 16
    whole_bars: tuple[int, ...] = (1, 2, 4, 8)
    whole_bars_gain: float = 1.5
    longest_rest: float = 1.1
    length_spread: float = 0.01
    least_bars: float = 0.95
    part_of_bar: float = 0.15
    min_other: float = 0.01
    most_others: int = 4
    sureness: float = 2.0


@dataclass(frozen=True)
class Loop:
    """The beats of a loop in 4/4.

    Attributes:
        time_s: float64 (n,), the beats of whole bars; empty where nothing can be said.
        beat_in_bar: int64 (n,), 1 = downbeat.
        tempo_bpm: Beats a minute; None without beats.
        certainty: Probability of this tempo among all that are tried, in [0, 1].
        others: At other tempi, the likeliest first.
    """

    time_s: np.ndarray
    beat_in_bar: np.ndarray
    tempo_bpm: float | None
    certainty: float
    others: "tuple[Loop, ...]" = ()


def find_loop(onsets: Onsets, duration_s: float, params: LoopParams = LoopParams()) -> Loop:
    """Find the beats of a short loop.

    Every tempo is tried with every start near the first onset, and judged by the places in the beat where onsets fall
    (`score_places`), by how usual it is, and by whether whole bars of it fill the length of a file that is played out.

    Args:
        onsets: Of the drums, or of the mixture.
        duration_s: Of the file.
        params: Which loops are thought of.

    Returns:
        The beats; none where the onsets are too few, or take too long, or the file is too short.
    """
    slowest_bpm = max(params.tempo_min_bpm, 60.0 * BEATS * params.least_bars / max(duration_s, 1e-3))
    steps = int(np.log(max(1.0, params.tempo_max_bpm / slowest_bpm)) / np.log(params.tempo_step))
    if len(onsets) < params.fewest_onsets or onsets.time_s[-1] - onsets.time_s[0] > params.longest_s or not steps:
        return Loop(np.zeros(0), np.zeros(0, np.int64), None, 0.0)
    tempo_bpm = slowest_bpm * params.tempo_step ** np.arange(steps)
    beat_s = 60.0 / tempo_bpm
    reach = round(params.start_reach_s / params.start_step_s)
    start_s = onsets.time_s[0] + params.start_step_s * np.arange(-reach, reach + 1)

    since_start_s = onsets.time_s - start_s[:, None]
    weights = np.sqrt(onsets.strength) + 1e-9
    placed = score_places(since_start_s / beat_s[:, None, None], beat_s[:, None, None]) @ (weights / weights.sum())
    evidence = np.sqrt(min(len(onsets), params.most_evidence)) * placed
    unusual = 0.5 * (np.log(tempo_bpm / params.usual_tempo_bpm) / params.tempo_spread) ** 2
    bars, rest = (length_s / (BEATS * beat_s) for length_s in (duration_s, duration_s - onsets.time_s[-1]))
    off = np.abs(bars[:, None] / params.whole_bars - 1).min(axis=1) / params.length_spread
    cut_to_bars = np.where(rest <= params.longest_rest, np.exp(-0.5 * off**2), 0.0)
    heard = evidence - unusual[:, None]
    scores = heard + params.whole_bars_gain * cut_to_bars[:, None]

    of_tempo = np.exp(params.sureness * (heard.max(axis=1) - heard.max()))
    of_tempo /= of_tempo.sum()
    found: list[Loop] = []
    for tempo in np.argsort(-scores.max(axis=1), kind="stable"):
        if len(found) > params.most_others:
            break
        if any(abs(np.log(tempo_bpm[tempo] / other.tempo_bpm)) < np.log(1 + SAME_TEMPO) for other in found):
            continue
        near = np.abs(np.log(tempo_bpm / tempo_bpm[tempo])) < np.log(1 + SAME_TEMPO)
        first_s = start_s[scores[tempo].argmax()]
        played = (onsets.time_s[-1] - first_s) / (BEATS * beat_s[tempo])
        beat = np.arange(BEATS * max(1, int(np.ceil(played - params.part_of_bar))))
        found.append(
            Loop(
                time_s=first_s + beat * beat_s[tempo],
                beat_in_bar=beat % BEATS + 1,
                tempo_bpm=float(tempo_bpm[tempo]),
                certainty=float(of_tempo[near].sum()),
            )
        )
    likely = tuple(other for other in found[1:] if other.certainty >= params.min_other)
    return replace(found[0], others=likely)


def score_places(beats: np.ndarray, beat_s: np.ndarray) -> np.ndarray:
    """How much likelier onsets are where they are than anywhere in their beats, as logarithms.

    Args:
        beats: float (…,), when onsets are, counted in beats from any beat.
        beat_s: Seconds a beat, of a shape that fits: the shorter beats are, the less it means to lie near a place.

    Returns:
        float of the common shape; between the logarithms of STRAY_SHARE and of some ten.
    """
    phase = beats - np.floor(beats)
    density = 0.0
    for place, share in PLACES:
        distance = np.abs(phase - place)
        distance_s = np.minimum(distance, 1 - distance) * beat_s
        density = density + share * np.exp(-0.5 * (distance_s / STROKE_SPREAD_S) ** 2)
    density = density * beat_s / (STROKE_SPREAD_S * np.sqrt(2 * np.pi))
    return np.log((1 - STRAY_SHARE) * density + STRAY_SHARE)
