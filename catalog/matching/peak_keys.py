"""Keys that find a constellation of spectral peaks again at another speed, tempo or pitch, and the votes they cast.

Six peaks that follow each other make a key of what such a change leaves as it is: the intervals between their pitches
and the ratios between their distances in time, with roughly their length and their place in the range. Equal keys
propose a line along which the second constellation lies in the first (see constellation.py). Fewer peaks would
survive noise more often, and would be met in so many tracks of a large lake that no query could be answered.

References:
    Six, "Panako 2.0: updates for an acoustic fingerprinting system", ISMIR 2021 (late-breaking), for keys of three
    peaks; Sonnleitner & Widmer, "Robust quad-based audio fingerprinting", IEEE/ACM TASLP 24(3), 2016, for four.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from catalog.matching.constellation import HOP_S, STEPS_A_SEMITONE, Constellation, Line
from catalog.matching.fingerprint_index import FingerprintIndex, Kind
from catalog.matching.segments import KEY_BITS


@dataclass(frozen=True)
class PeakKeyParams:
    """How a query asks, and what makes a proposal.

    Attributes:
        asked_keys: A short query asks with so many combinations of six peaks, spread over its peaks.
        most_asked, least_asked: Combinations that each peak begins in a query.
        common_places: A key in more places than this proposes nothing.
        places_a_key: Of the keys that some peaks begin, so many places are met on average, those of the rarest.
        min_votes: Equal keys on one line that make a proposal.
        most_tracks: So many tracks are proposed, those with the most equal keys; of a mix that lasts longer than
            `track_s`, more in proportion.
        votes_a_track: Of more equal keys, so many vote for the line.
        max_log_ratio: Largest change of tempo, as a natural logarithm.
        max_pitch_steps: Largest shift of pitch.
    """

    asked_keys: int = 2_500
    most_asked: int = 25
    least_asked: int = 2
    common_places: int = 1_000
    places_a_key: float = 2.0
    min_votes: int = 4
    most_tracks: int = 50
    track_s: float = 240.0
    votes_a_track: int = 128
    max_log_ratio: float = 0.12
    max_pitch_steps: int = 4 * STEPS_A_SEMITONE


PEAKS_A_KEY = 6
STRETCH_PEAKS = 32  # three to four seconds
STORED_A_PEAK = 2
STORED_NEIGHBOURS, ASKED_NEIGHBOURS = 7, 8  # peaks after the first that are combined
MIN_FRAMES, MAX_FRAMES = 3, 120
SPAN_SEMITONES = 12
RATIO_PARTS = 8
LENGTH_PARTS = 2  # an octave
ROUGH_STEPS = 6 * STEPS_A_SEMITONE
FRAME_ERROR, STEP_ERROR, PITCH_ERROR = 0.9, 1.1, 2.2 * STEPS_A_SEMITONE  # how far what is asked for may lie
BITS = (5,) * (PEAKS_A_KEY - 1) + (3,) * (PEAKS_A_KEY - 2) + (4, 3)
PEAKS_AT_ONCE = 20_000


def make_keys(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a track for the index, and the place of each key's first peak in the items."""
    found = [
        (_pack([np.floor(value).astype(np.int64) for value in values]), places)
        for places, values, _ in _combine(Constellation.from_items(items), STORED_NEIGHBOURS, STORED_A_PEAK)
    ]
    return _join(found)


PEAKS = Kind("peaks-sixes-1", "peaks-1", HOP_S, make_keys)


def propose_lines(
    index: FingerprintIndex, items: np.ndarray, params: PeakKeyParams = PeakKeyParams()
) -> dict[int, Line]:
    """Find the tracks that have keys in common with a query on one line.

    Args:
        index: Of constellations.
        items: uint32 (n,), the query.

    Returns:
        For each track's number the line with the most votes.
    """
    query = Constellation.from_items(items)
    keys, places = _ask(query, params)
    hits = index.look_up(keys, params.common_places, places // STRETCH_PEAKS, params.places_a_key)
    often = np.bincount(hits.track, minlength=1)[hits.track] >= params.min_votes
    track, place, own = hits.track[often], hits.place[often], places[hits.key[often]]
    found = Constellation.from_items(index.read_items(track, place))
    shift = found.pitch - query.pitch[own]
    near = np.abs(shift) <= params.max_pitch_steps
    most = round(params.most_tracks * max(1.0, query.length_s / params.track_s))
    chosen = np.flatnonzero(near)[_choose(track[near], shift[near], most, params)]
    return _vote(track[chosen], found.frame[chosen], query.frame[own[chosen]], shift[chosen], params)


def _ask(query: Constellation, params: PeakKeyParams) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a query and of its near misses, and the place of each in the query."""
    count = int(np.clip(params.asked_keys // max(1, len(query)), params.least_asked, params.most_asked))
    found = []
    for places, values, margins in _combine(query, ASKED_NEIGHBOURS, count, params.max_log_ratio):
        cells, rows = [np.floor(value).astype(np.int64) for value in values], np.arange(len(places))
        for number, (value, margin) in enumerate(zip(values, margins, strict=True)):
            down, up = np.floor(value - margin)[rows], np.floor(value + margin)[rows]
            cell = cells[number]
            low, high = np.flatnonzero(down < cell), np.flatnonzero(up > cell)
            again = np.concatenate([low, high])
            cells = [np.concatenate([part, part[again]]) for part in cells]
            cells[number][len(cell) :] += np.repeat([-1, 1], [len(low), len(high)])
            rows = np.concatenate([rows, rows[again]])
        valid = np.all([(part >= 0) & (part < 1 << bits) for part, bits in zip(cells, BITS, strict=True)], axis=0)
        found.append((_pack([part[valid] for part in cells]), places[rows[valid]]))
    return _join(found)


def _combine(stars: Constellation, neighbours: int, count: int, max_log_ratio: float = 0.0):
    """For each stretch of peaks: the first peak of each combination, its values in cells, and how far each may lie."""
    reach = 4 * neighbours
    members = sorted(combinations(range(neighbours), PEAKS_A_KEY - 1), key=lambda part: (sum(part), part))
    members = np.array(members).T
    for start in range(0, len(stars), PEAKS_AT_ONCE):
        first = np.arange(start, min(start + PEAKS_AT_ONCE, len(stars)))
        later = first[:, None] + np.arange(1, reach + 1)
        exists = later < len(stars)
        later = np.minimum(later, len(stars) - 1)
        gap = stars.frame[later] - stars.frame[first, None]
        step = stars.pitch[later] - stars.pitch[first, None]
        fits = exists & (gap >= MIN_FRAMES) & (gap <= MAX_FRAMES)
        fits &= np.abs(step) < SPAN_SEMITONES * STEPS_A_SEMITONE
        order = np.argsort(~fits, axis=1, kind="stable")[:, :neighbours]
        fits, gap, step = (np.take_along_axis(part, order, 1) for part in (fits, gap, step))
        usable = np.all([fits[:, member] for member in members], axis=0)
        usable &= gap[:, members[-1]] - gap[:, members[0]] >= MIN_FRAMES
        usable &= np.cumsum(usable, axis=1) <= count
        row, chosen = np.nonzero(usable)
        length = gap[row, members[-1][chosen]]
        # Intervals are rounded to semitones, which most music keeps to.
        intervals = [step[row, part[chosen]] / STEPS_A_SEMITONE + SPAN_SEMITONES + 0.5 for part in members]
        ratios = [gap[row, part[chosen]] / length * RATIO_PARTS for part in members[:-1]]
        rough = [np.log2(length) * LENGTH_PARTS, stars.pitch[first[row]] / ROUGH_STEPS]
        margins = [np.full(len(row), STEP_ERROR / STEPS_A_SEMITONE)] * len(intervals)
        margins += [np.minimum(FRAME_ERROR * RATIO_PARTS / length, 0.45)] * len(ratios)
        margins += [np.full(len(row), max_log_ratio / np.log(2) * LENGTH_PARTS)]
        margins += [np.full(len(row), PITCH_ERROR / ROUGH_STEPS)]
        yield first[row], [*intervals, *ratios, *rough], margins


def _pack(cells: list[np.ndarray]) -> np.ndarray:
    """The cells of each combination as a key, mixed so that all keys are equally likely."""
    keys = np.zeros(len(cells[0]), np.uint64)
    for cell, bits in zip(cells, BITS, strict=True):
        keys = (keys << np.uint64(bits)) | np.clip(cell, 0, (1 << bits) - 1).astype(np.uint64)
    keys *= np.uint64(0x9E3779B97F4A7C15)
    keys ^= keys >> np.uint64(32)
    keys *= np.uint64(0xD6E8FEB86659FD93)
    return (keys >> np.uint64(64 - KEY_BITS)).astype(np.uint32)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    keys = np.concatenate([np.zeros(0, np.uint32), *(keys for keys, _ in parts)])
    return keys, np.concatenate([np.zeros(0, np.int64), *(places for _, places in parts)])


RATIO_STEP = 0.01
OFFSET_FRAMES = 24
SHIFT_STEPS = 4
GRIDS = (0.0, 0.5)  # what lies near the edge of a cell is in the middle of one of the other grid


def _choose(track: np.ndarray, shift: np.ndarray, most_tracks: int, params: PeakKeyParams) -> np.ndarray:
    """The places of the hits in the tracks with the most hits at one pitch; not all, where a track has many."""
    numbers, inverse = np.unique(track, return_inverse=True)
    most = np.zeros(len(numbers), np.int64)
    for half in GRIDS:
        cells = np.floor(shift / SHIFT_STEPS + half).astype(np.int64)
        codes, votes = np.unique((inverse << 16) + cells + (1 << 15), return_counts=True)
        np.maximum.at(most, codes >> 16, votes)
    best = np.argsort(-most, kind="stable")[:most_tracks]
    taken = np.zeros(len(numbers), bool)
    taken[best[most[best] >= params.min_votes]] = True
    order = np.argsort(inverse, kind="stable")
    counts = np.bincount(inverse, minlength=len(numbers))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    every = np.maximum(1, -(-counts // params.votes_a_track))
    return np.sort(order[taken[inverse[order]] & (rank % every[inverse[order]] == 0)])


def _vote(
    track: np.ndarray, theirs: np.ndarray, own: np.ndarray, shift: np.ndarray, params: PeakKeyParams
) -> dict[int, Line]:
    """The line of each track that most of its hits lie on, for those with enough."""
    if not len(track):
        return {}
    centre = (own.min() + own.max()) / 2
    count = round(params.max_log_ratio / RATIO_STEP)
    ratios = np.exp(np.arange(-count, count + 1) * RATIO_STEP)
    offsets = theirs[None] - ratios[:, None] * (own - centre)[None]
    numbers, inverse = np.unique(track, return_inverse=True)
    best = np.zeros(len(numbers), np.int64)
    lines: dict[int, Line] = {}
    for half in GRIDS:
        cells = np.floor(offsets / OFFSET_FRAMES + half).astype(np.int64) + (1 << 21)
        steps = np.floor(shift / SHIFT_STEPS + half).astype(np.int64) + (1 << 7)
        codes = (((inverse[None] << 6) + np.arange(len(ratios))[:, None] << 22) + cells << 8) + steps[None]
        codes, voters, votes = np.unique(codes.ravel(), return_inverse=True, return_counts=True)
        order = np.argsort(voters, kind="stable")
        ends = np.cumsum(votes)
        of = codes >> 36
        for place in np.lexsort([-votes, of])[np.searchsorted(np.sort(of), np.arange(len(numbers)))]:
            number = of[place]
            if votes[place] <= best[number]:
                continue
            best[number] = votes[place]
            row, hit = np.divmod(order[ends[place] - votes[place] : ends[place]], len(own))
            ratio, offset = ratios[row[0]], np.median(offsets[row, hit])
            line = Line(float(ratio), float(offset - ratio * centre), float(np.median(shift[hit])))
            lines[int(numbers[number])] = line
    return {number: lines[number] for number in numbers[best >= params.min_votes].tolist()}
