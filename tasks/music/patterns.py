"""The drum pattern of a section: its hits laid on the grid of its bars. Vectors and MIDI are made elsewhere.

A bar has 16 steps in 4/4: four for each quarter, two for each eighth of 6/8. The pattern is a mean of pairs of bars, in
which those that resemble the section's plain mean count most: fills and slips fade, and since no pair is chosen over
the others, slightly other timing gives a slightly other pattern and never a wholly other one. Pairs from the rest of
the track count by the same rule: a groove that is heard in several sections is heard more surely.
"""

from dataclasses import dataclass

import numpy as np

from tasks.music.drums import INSTRUMENTS, Hits
from tasks.music.onsets import Onsets

VERSION = "shared-bars-8"
ROWS = ("kick", "snare", "hihat", "tom", "ride")  # a crash is an accent now and then, and part of no groove
ALWAYS_LISTED = ("kick", "snare", "hihat")
MAX_VELOCITY = 127
LEAST_LENGTH = 1.5  # of a drum's row, some three hits in two bars: a drum that is played less counts less
FULL_STROKES = 0.25  # share of a track's strokes, the strongest, that count as struck hard
SHARED_FROM = 0.35  # of a step: hits from here to the same distance before the next step are shared by both
SAME_BEAT_S = 1e-6


@dataclass(frozen=True)
class Pattern:
    """The representative pattern of a section.

    Attributes:
        bars: 2, or 1 where the section has a single bar.
        steps_per_bar: 16 in 4/4.
        time_signature: As it was given.
        steps: float32 (ROWS, bars · steps_per_bar): mean velocity / 127 of the hit on each step, 0 without one; a hit
            that comes every second time has half its velocity.
        midi_data: Times of the played hits of the section for each instrument, seconds from the section's start.
        start_s: Start of the bars that are nearest to the pattern, seconds from the track's start.
        end_s: Their end.
        quality_score: How regular, how complete and how sure the pattern is, 0 to 1.
    """

    bars: int
    steps_per_bar: int
    time_signature: str | None
    steps: np.ndarray
    midi_data: dict[str, list[float]]
    start_s: float
    end_s: float
    quality_score: float


@dataclass(frozen=True)
class PatternParams:
    """How bars are compared."""

    min_hits: int = 4  # a pair of bars with fewer is no pattern
    consensus: float = 4.0  # power of the likeness to the mean by which a pair counts
    rounds: int = 2  # times that the pattern is made from the pairs of the whole track that are like it


@dataclass(frozen=True)
class Bars:
    """Complete bars in ascending order.

    Attributes:
        beat_time_s: float64 (n, beats + 1), the beats of each bar and the next downbeat.
        steps_per_bar: Steps that each bar is divided into.
    """

    beat_time_s: np.ndarray
    steps_per_bar: int

    def __len__(self) -> int:
        return len(self.beat_time_s)


def fold_pattern(
    hits: Hits,
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    time_signature: str | None = None,
    params: PatternParams = PatternParams(),
) -> Pattern | None:
    """Fold the hits of a section into its representative pattern.

    Args:
        hits: Of the track.
        beat_time_s: float (beats,), the beats of the track in ascending order.
        beat_in_bar: int (beats,), 1 on the downbeat.
        start_s: Start of the section.
        end_s: End of the section.
        time_signature: Such as "4/4" or "6/8"; None counts as the beats say, in quarters.
        params: How bars are compared.

    Returns:
        The pattern; None for a section without a complete bar or without drums.
    """
    bars = find_bars(beat_time_s, beat_in_bar, start_s, end_s, time_signature)
    if bars is None:
        return None
    grid = place_hits(hits, bars)
    pairs, firsts = pair_bars(grid, bars)
    full = (pairs > 0).sum(axis=(1, 2)) >= params.min_hits
    if not full.any():
        return None
    pairs, firsts = pairs[full], firsts[full]

    likeness = compare_to_mean(pairs)
    steps = _average(pairs, likeness, params)
    everywhere = find_bars(beat_time_s, beat_in_bar, -np.inf, np.inf, time_signature)
    others, _ = pair_bars(place_hits(hits, everywhere), everywhere)
    if others.shape[1:] == steps.shape:
        others = others[(others > 0).sum(axis=(1, 2)) >= params.min_hits]
        for _ in range(params.rounds if len(others) else 0):
            steps = _average(others, _unit(others) @ _unit(steps[None])[0], params)

    nearest = int(np.argmax(likeness))
    bars_each = steps.shape[1] // bars.steps_per_bar
    last = firsts[nearest] + bars_each - 1
    inside = (hits.time_s >= start_s) & (hits.time_s < end_s)
    confidence = hits.confidence[inside][np.isin(hits.instrument[inside], ROWS)]
    regularity = measure_regularity(likeness)
    return Pattern(
        bars=bars_each,
        steps_per_bar=bars.steps_per_bar,
        time_signature=time_signature,
        steps=steps.astype(np.float32),
        midi_data=list_hit_times(hits, start_s, end_s),
        start_s=float(bars.beat_time_s[firsts[nearest], 0]),
        end_s=float(bars.beat_time_s[last, -1]),
        quality_score=round(float(np.clip(regularity * (confidence.mean() if len(confidence) else 0.0), 0, 1)), 4),
    )


def fold_strokes(
    struck: Onsets,
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    time_signature: str | None = None,
) -> np.ndarray | None:
    """How hard each step of a section's pattern is struck, by whatever drum, folded as the hits of one drum are.

    Args:
        struck: When anything is struck in the whole track, and how strongly: a quarter of the strokes count as full.
        beat_time_s, beat_in_bar, start_s, end_s, time_signature: As `fold_pattern` takes them.

    Returns:
        float32 (bars · steps_per_bar,), 0 to 1; None where `fold_pattern` finds nothing.
    """
    count = len(struck)
    full = np.quantile(struck.strength, 1 - FULL_STROKES) if count else 1.0
    velocity = MAX_VELOCITY * np.minimum(struck.strength / full, 1)
    strokes = Hits(struck.time_s, np.full(count, ROWS[0]), velocity, np.ones(count, np.float32))
    pattern = fold_pattern(strokes, beat_time_s, beat_in_bar, start_s, end_s, time_signature)
    return None if pattern is None else pattern.steps[0]


def find_bars(
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    time_signature: str | None = None,
) -> Bars | None:
    """The complete bars of the usual length that lie in a section; None without any.

    A bar may stick out of the section by a quarter of its length: borders are less exact than beats. A last bar that
    runs beyond the last beat gets its missing downbeat from the beat before.
    """
    downbeats = np.flatnonzero(np.asarray(beat_in_bar) == 1)
    if len(beat_time_s) < 2 or not len(downbeats):
        return None
    beats = _usual_beats(beat_in_bar, downbeats)
    times = np.append(beat_time_s, 2 * beat_time_s[-1] - beat_time_s[-2])
    following = np.append(downbeats[1:], len(beat_time_s))
    first = downbeats[following - downbeats == beats]
    bars = times[first[:, None] + np.arange(beats + 1)]
    slack_s = (bars[:, -1] - bars[:, 0]) / 4
    bars = bars[(bars[:, 0] >= start_s - slack_s) & (bars[:, -1] <= end_s + slack_s)]
    return Bars(bars, count_steps(time_signature, beats)) if len(bars) else None


def count_steps(time_signature: str | None, beats: int) -> int:
    """Steps in a bar: four a quarter, two an eighth; without a time signature, four a beat.

    `beats` decides where the time signature says nothing or cannot be read.
    """
    numerator, _, denominator = (time_signature or "").partition("/")
    if numerator.isdigit() and denominator in ("2", "4", "8", "16"):
        return int(numerator) * 16 // int(denominator)
    return 4 * beats


def place_hits(hits: Hits, bars: Bars) -> np.ndarray:
    """Lay hits on the steps of bars, velocities in 0 to 1, float32 (bars, ROWS, steps_per_bar).

    A hit goes to the nearest step, a late one at the end of a bar to the next bar's first. Half-way between two steps
    it belongs to both in part: a millisecond changes little. Of two hits on a step the louder counts.
    """
    beats = bars.beat_time_s
    bar_s = beats[0, -1] - beats[0, 0]
    chosen = (hits.time_s > beats[0, 0] - bar_s) & (hits.time_s < beats[-1, -1])
    chosen[chosen] = np.isin(hits.instrument[chosen], ROWS)
    times, velocities = hits.time_s[chosen], hits.velocity[chosen] / MAX_VELOCITY
    rows = np.array([ROWS.index(name) for name in hits.instrument[chosen]], int)

    steps_per_beat = bars.steps_per_bar / (beats.shape[1] - 1)
    early_s = (beats[:, 1] - beats[:, 0]) / steps_per_beat * (1 - SHARED_FROM)
    bar = np.searchsorted(beats[:, 0] - early_s, times, side="right") - 1
    inside = bar >= 0
    bar, times, velocities, rows = bar[inside], times[inside], velocities[inside], rows[inside]

    beat = np.maximum((times[:, None] >= beats[bar, :-1]).sum(axis=1) - 1, 0)
    begin, end = beats[bar, beat], beats[bar, beat + 1]
    position = (beat + (times - begin) / (end - begin)) * steps_per_beat
    before = np.floor(position).astype(int)
    to_next = np.clip((position - before - SHARED_FROM) / (1 - 2 * SHARED_FROM), 0, 1)

    joined = np.abs(beats[1:, 0] - beats[:-1, -1]) < SAME_BEAT_S
    first, last = np.where(np.append(False, joined), -1, 0), np.where(np.append(joined, False), 0, -1)
    first, last = first[bar], last[bar] + bars.steps_per_bar  # steps that can be reached: into a neighbour, not a gap
    grid = np.zeros((len(ROWS), len(bars) * bars.steps_per_bar), np.float32)
    for step, share in ((before, 1 - to_next), (before + 1, to_next)):
        reached = (step >= first) & (step <= last) & (share > 0)
        column = bar[reached] * bars.steps_per_bar + step[reached]
        np.maximum.at(grid, (rows[reached], column), (velocities * share)[reached])
    return grid.reshape(len(ROWS), len(bars), bars.steps_per_bar).transpose(1, 0, 2)


def compare_to_mean(grids: np.ndarray) -> np.ndarray:
    """Cosines of grids (n, ROWS, steps) with their mean, (n,); drums count alike, few hits or many."""
    flat = _unit(grids)
    mean = flat.mean(axis=0)
    return flat @ mean / max(1e-12, np.linalg.norm(mean))


def _unit(grids: np.ndarray) -> np.ndarray:
    """Grids (n, ROWS, steps) as vectors of length 1, (n, -1), to which every drum adds the same length.

    Hi-hat and ride are one, whoever keeps time. A drum that is hardly played adds less: the toms of a fill do not make
    the fill the groove.
    """
    kick, snare, hihat, tom, ride = np.sqrt(grids).transpose(1, 0, 2)
    weighted = np.stack([kick, snare, np.maximum(hihat, ride), tom], axis=1)
    weighted = weighted / np.maximum(LEAST_LENGTH, np.linalg.norm(weighted, axis=2, keepdims=True))
    flat = weighted.reshape(len(grids), -1)
    return flat / np.maximum(1e-12, np.linalg.norm(flat, axis=1, keepdims=True))


def _average(grids: np.ndarray, likeness: np.ndarray, params: PatternParams) -> np.ndarray:
    """The mean of grids (n, ROWS, steps), those counting most that are most like what is looked for."""
    weights = np.maximum(likeness, 1e-3) ** params.consensus
    return np.tensordot(weights / weights.sum(), grids, axes=1)


def measure_regularity(likeness: np.ndarray) -> float:
    """Mean cosine of unit vectors with one another, from their cosines with their mean (n,); one half for one alone."""
    count = len(likeness)
    return 0.5 if count == 1 else max(0.0, (count * float(likeness.mean()) ** 2 - 1) / (count - 1))


def list_hit_times(hits: Hits, start_s: float, end_s: float) -> dict[str, list[float]]:
    """Times of the hits within a section, seconds from its start, to the tenth of a ms.

    Kick, snare and hihat are always listed, the others where they are played.
    """
    inside = (hits.time_s >= start_s) & (hits.time_s < end_s)
    times, instruments = np.round(hits.time_s[inside] - start_s, 4), hits.instrument[inside]
    listed = {name: times[instruments == name].tolist() for name in INSTRUMENTS}
    return {name: times_s for name, times_s in listed.items() if times_s or name in ALWAYS_LISTED}


def _usual_beats(beat_in_bar: np.ndarray, downbeats: np.ndarray) -> int:
    """The most frequent number of beats between downbeats."""
    lengths = np.diff(downbeats)
    if not len(lengths):
        return int(np.max(beat_in_bar))
    return int(np.bincount(lengths).argmax())


def pair_bars(grid: np.ndarray, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
    """Candidates for the pattern and their first bars: pairs of adjacent bars, or the bars where none are adjacent.

    Pairs begin on every second bar of an unbroken run, as music counts its bars in twos.
    """
    starts, ends = bars.beat_time_s[:, 0], bars.beat_time_s[:, -1]
    firsts, number = [], 0
    while number + 1 < len(bars):
        adjacent = starts[number + 1] - ends[number] < SAME_BEAT_S
        if adjacent:
            firsts.append(number)
        number += 2 if adjacent else 1
    if not firsts:
        return grid, np.arange(len(bars))
    firsts = np.array(firsts)
    return np.concatenate([grid[firsts], grid[firsts + 1]], axis=2), firsts
