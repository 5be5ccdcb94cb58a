"""Two constellations of spectral peaks laid over each other, whatever the speed, tempo and pitch of the second.

Three peaks that follow each other make a key of what a change of speed or pitch leaves as it is: the intervals between
their pitches and the ratio between their distances in time. Equal keys propose a line t₁ = ratio · t₂ + offset and a
shift of pitch; the proposal is confirmed peak by peak along that line.

References:
    Six, "Panako 2.0: updates for an acoustic fingerprinting system", ISMIR 2021 (late-breaking), for keys of three
    peaks; Sonnleitner & Widmer, "Robust quad-based audio fingerprinting", IEEE/ACM TASLP 24(3), 2016, for confirming
    by the peaks themselves.
"""

from dataclasses import dataclass

import numpy as np

from catalog.evidence import Match
from catalog.fingerprint_index import FingerprintIndex, Kind
from catalog.segments import KEY_BITS

PITCH_BITS = 9  # of an item; the others count its frame
STEPS_A_SEMITONE = 9
PITCH_STEPS = 48 * STEPS_A_SEMITONE
HOP_S = 256 / 11_025


@dataclass(frozen=True)
class ConstellationParams:
    """How alike two constellations have to be.

    Attributes:
        stored_triplets, asked_triplets: Triplets that each peak begins, in the index and in a query.
        asked_peaks: A longer query asks with so many of its peaks, spread over its length.
        common_places: A key in more places than this proposes nothing.
        min_votes: Equal keys on one line that make a proposal.
        most_tracks: So many tracks are proposed, those with the most equal keys at one pitch.
        max_log_ratio: Largest change of tempo, as a natural logarithm.
        max_pitch_steps: Largest shift of pitch.
        near_frames, near_steps: How far a peak may lie from where the line expects it.
        max_missing: Share of missing peaks below which a stretch speaks for equal audio.
        min_evidence: Peaks found beyond that share, summed over the stretch, that confirm it.
        min_pitches: With fewer semitones among the peaks that both have, a stretch says nothing: it is a tone.
    """

    stored_triplets: int = 3
    asked_triplets: int = 8
    asked_peaks: int = 400
    common_places: int = 2_000
    min_votes: int = 12
    most_tracks: int = 200
    max_log_ratio: float = 0.12
    max_pitch_steps: int = 4 * STEPS_A_SEMITONE
    near_frames: float = 2.5
    near_steps: float = 2.5
    max_missing: float = 0.7
    min_evidence: float = 10.0
    min_pitches: int = 6


@dataclass(frozen=True)
class Constellation:
    """The peaks of a track in the order of time.

    Attributes:
        frame: float64 (n,), in hops.
        pitch: float64 (n,), in steps of a ninth of a semitone.
    """

    frame: np.ndarray
    pitch: np.ndarray

    @classmethod
    def from_items(cls, items: np.ndarray) -> "Constellation":
        items = np.asarray(items, np.uint32)
        return cls(
            (items >> np.uint32(PITCH_BITS)).astype(np.float64),
            (items & np.uint32((1 << PITCH_BITS) - 1)).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def length_s(self) -> float:
        """From the first to the last peak; 0 without one."""
        return float(self.frame[-1] - self.frame[0]) * HOP_S if len(self) else 0.0


@dataclass(frozen=True)
class Line:
    """Where the peaks of a second constellation lie in the first: frame₁ = ratio · frame₂ + offset."""

    ratio: float
    offset: float
    pitch_steps: float


@dataclass(frozen=True)
class Overlay:
    """The stretch that two constellations share along a line.

    Attributes:
        line: The line.
        overlap_s: Length of the stretch in the first.
        score: Share of the peaks in it that both have, the smaller of the two shares.
        evidence: Peaks found beyond what is allowed to miss.
    """

    line: Line
    overlap_s: float = 0.0
    score: float = 0.0
    evidence: float = 0.0

    def to_match(self, tracks: tuple[str, str], first: Constellation, second: Constellation) -> Match:
        """The evidence for two tracks, in the order of the two constellations."""
        return Match.between(
            tracks,
            (first.length_s, second.length_s),
            method=METHOD,
            method_version=VERSION,
            score=self.score,
            overlap_s=self.overlap_s,
            offset_s=self.line.offset * HOP_S,
            speed_ratio=self.line.ratio,
            pitch_semitones=-self.line.pitch_steps / STEPS_A_SEMITONE,
        )


def make_keys(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a track for the index, and the place of each key's first peak in the items."""
    first, values = _find_triplets(Constellation.from_items(items), ConstellationParams.stored_triplets)
    return _pack(*(np.floor(value).astype(np.int64) for value in values)), first


PEAKS = Kind("peaks-triplets-1", "peaks-1", HOP_S, make_keys)
METHOD = "peaks"
VERSION = "peaks-triplets-1"


def propose_lines(
    index: FingerprintIndex, items: np.ndarray, params: ConstellationParams = ConstellationParams()
) -> dict[int, Line]:
    """Find the tracks that have keys in common with a query on one line.

    Args:
        index: Of constellations.
        items: uint32 (n,), the query.

    Returns:
        For each track's number the line with the most votes.
    """
    query = Constellation.from_items(items)
    keys, places = _make_query_keys(query, params)
    hits = index.look_up(keys, params.common_places)
    found = Constellation.from_items(index.read_items(hits.track, hits.place))
    places = places[hits.key]
    shift = found.pitch - query.pitch[places]
    near = np.abs(shift) <= params.max_pitch_steps
    track, shift = hits.track[near], shift[near]
    theirs, own = found.frame[near], query.frame[places][near]
    lines = {}
    for number, part in _split_by_track(track, shift, params):
        line = _vote(theirs[part], own[part], shift[part], params)
        if line:
            lines[number] = line
    return lines


def confirm_line(
    first: Constellation, second: Constellation, line: Line, params: ConstellationParams = ConstellationParams()
) -> Overlay | None:
    """What two constellations share along a line, after fitting it to their peaks; None where it proves nothing."""
    for near in (2.0, 1.0, 1.0):
        mine, theirs = _pair(first, second, line, near * params.near_frames * 2, params.near_steps * near)
        if len(mine) < params.min_votes:
            return None
        line = _fit(first, second, mine, theirs, line)
    overlay = _measure(first, second, line, params)
    return overlay if overlay.evidence >= params.min_evidence else None


# The values of a triplet: two intervals in thirds of a semitone, the ratio of its distances in eighths, its length in
# half octaves, and the pitch it begins at in steps of half an octave.
FINE_STEPS = 3
SPAN_STEPS = 12 * STEPS_A_SEMITONE
RATIO_PARTS = 8
MIN_FRAMES, MAX_FRAMES = 3, 120
LENGTH_PARTS = 2
ROUGH_STEPS = 6 * STEPS_A_SEMITONE
MOST_NEIGHBOURS = 10  # peaks after the first that are combined


def _find_triplets(stars: Constellation, count: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Triplets of each peak with later ones, the nearest first: the place of each first peak, and the values."""
    reach = 4 * MOST_NEIGHBOURS
    n = len(stars)
    if n < 3:
        return np.zeros(0, np.int64), (np.zeros(0),) * 5
    later = np.arange(n)[:, None] + np.arange(1, reach + 1)
    exists = later < n
    later = np.minimum(later, n - 1)
    gap = stars.frame[later] - stars.frame[:, None]
    step = stars.pitch[later] - stars.pitch[:, None]
    fits = exists & (gap >= MIN_FRAMES) & (gap <= MAX_FRAMES) & (np.abs(step) < SPAN_STEPS)
    order = np.argsort(~fits, axis=1, kind="stable")[:, :MOST_NEIGHBOURS]
    fits = np.take_along_axis(fits, order, 1)
    gap, step = np.take_along_axis(gap, order, 1), np.take_along_axis(step, order, 1)
    pairs = sorted(
        ((one, two) for two in range(MOST_NEIGHBOURS) for one in range(two)), key=lambda pair: (sum(pair), pair)
    )
    one, two = np.array(pairs).T
    usable = fits[:, one] & fits[:, two] & (gap[:, two] - gap[:, one] >= MIN_FRAMES)
    usable &= np.cumsum(usable, axis=1) <= count
    place, pair = np.nonzero(usable)
    one, two = one[pair], two[pair]
    length = gap[place, two]
    values = (
        (step[place, one] + SPAN_STEPS) / FINE_STEPS,
        (step[place, two] + SPAN_STEPS) / FINE_STEPS,
        gap[place, one] / length * RATIO_PARTS,
        np.log2(length) * LENGTH_PARTS,
        stars.pitch[place] / ROUGH_STEPS,
    )
    return place, values


def _make_query_keys(query: Constellation, params: ConstellationParams) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a query and of its near misses, and the place of each in the query."""
    place, values = _find_triplets(query, params.asked_triplets)
    if len(query) > params.asked_peaks:
        asked = np.zeros(len(query), bool)
        asked[np.linspace(0, len(query) - 1, params.asked_peaks).astype(int)] = True
        keep = asked[place]
        place, values = place[keep], tuple(value[keep] for value in values)
    # How far each value may move: peaks by a frame and a step, the length and the pitch by what is allowed.
    margins = (0.35, 0.35, 0.3, params.max_log_ratio / np.log(2) * LENGTH_PARTS, 2.2 * STEPS_A_SEMITONE / ROUGH_STEPS)
    cells = [np.floor(value).astype(np.int64) for value in values]
    rows = np.arange(len(place))
    for number, (value, margin) in enumerate(zip(values, margins, strict=True)):
        value = value[rows]
        down, up = np.floor(value - margin), np.floor(value + margin)
        cell = cells[number]
        low, high = np.flatnonzero(down < cell), np.flatnonzero(up > cell)
        again = np.concatenate([low, high])
        cells = [np.concatenate([part, part[again]]) for part in cells]
        cells[number][len(cell) :] += np.concatenate([np.full(len(low), -1), np.full(len(high), 1)])
        rows = np.concatenate([rows, rows[again]])
    valid = np.all([(part >= 0) & (part < 1 << bits) for part, bits in zip(cells, _BITS, strict=True)], axis=0)
    return _pack(*(part[valid] for part in cells)), place[rows[valid]]


_BITS = (7, 7, 3, 4, 3)


def _pack(*cells: np.ndarray) -> np.ndarray:
    keys = np.zeros(len(cells[0]), np.int64)
    for cell, bits in zip(cells, _BITS, strict=True):
        keys = (keys << bits) | np.clip(cell, 0, (1 << bits) - 1)
    return (keys << (KEY_BITS - sum(_BITS))).astype(np.uint32)


def _split_by_track(track: np.ndarray, shift: np.ndarray, params: ConstellationParams) -> list[tuple[int, np.ndarray]]:
    """The hits of the tracks with the most hits at one pitch; their places."""
    numbers, inverse = np.unique(track, return_inverse=True)
    if not len(numbers):
        return []
    # A shift near an edge is counted in both of two grids, half a cell apart.
    most = np.zeros(len(numbers), np.int64)
    for half in (0.0, 0.5):
        cells = np.floor(shift / SHIFT_STEPS + half).astype(np.int64)
        codes, votes = np.unique(inverse * (1 << 16) + cells + (1 << 15), return_counts=True)
        np.maximum.at(most, codes >> 16, votes)
    best = np.argsort(-most, kind="stable")[: params.most_tracks]
    best = np.sort(best[most[best] >= params.min_votes])
    order = np.argsort(inverse, kind="stable")
    edges = np.searchsorted(inverse[order], np.arange(len(numbers) + 1))
    return [(int(numbers[place]), order[edges[place] : edges[place + 1]]) for place in best]


RATIO_STEP = 0.01
OFFSET_FRAMES = 24
SHIFT_STEPS = 4


def _vote(theirs: np.ndarray, own: np.ndarray, shift: np.ndarray, params: ConstellationParams) -> Line | None:
    """The line that most hits lie on; None with too few."""
    centre = (own.min() + own.max()) / 2
    count = round(params.max_log_ratio / RATIO_STEP)
    ratios = np.exp(np.arange(-count, count + 1) * RATIO_STEP)
    offsets = theirs[None] - ratios[:, None] * (own - centre)[None]
    best, line = 0, None
    for half in (0.0, 0.5):
        cells = np.floor(offsets / OFFSET_FRAMES + half).astype(np.int64)
        steps = np.floor(shift / SHIFT_STEPS + half).astype(np.int64)
        codes = (
            (np.arange(len(ratios))[:, None] << 40) + ((cells + (1 << 22)) << 12) + (steps[None] + (1 << 8))
        ).ravel()
        _, inverse, votes = np.unique(codes, return_inverse=True, return_counts=True)
        top = int(np.argmax(votes))
        if votes[top] > best:
            best = int(votes[top])
            row, hit = np.divmod(np.flatnonzero(inverse == top), len(own))
            ratio = ratios[row[0]]
            line = Line(
                float(ratio), float(np.median(offsets[row, hit]) - ratio * centre), float(np.median(shift[hit]))
            )
    return line if best >= params.min_votes else None


def _pair(
    first: Constellation, second: Constellation, line: Line, near_frames: float, near_steps: float
) -> tuple[np.ndarray, np.ndarray]:
    """The peaks of the second that the first has, and the nearest one there."""
    frame, pitch = line.ratio * second.frame + line.offset, second.pitch + line.pitch_steps
    start = np.searchsorted(first.frame, frame - near_frames)
    end = np.searchsorted(first.frame, frame + near_frames, side="right")
    best = np.full(len(second), -1)
    distance = np.full(len(second), np.inf)
    for move in range(int((end - start).max(initial=0))):
        place = np.minimum(start + move, len(first) - 1)
        far = np.hypot((first.frame[place] - frame) / near_frames, (first.pitch[place] - pitch) / near_steps)
        better = (start + move < end) & (far < distance) & (np.abs(first.pitch[place] - pitch) <= near_steps)
        best, distance = np.where(better, place, best), np.where(better, far, distance)
    found = np.flatnonzero(best >= 0)
    return found, best[found]


def _fit(first: Constellation, second: Constellation, own: np.ndarray, theirs: np.ndarray, line: Line) -> Line:
    """The line through paired peaks."""
    x, y = second.frame[own], first.frame[theirs]
    centre = x.mean()
    spread = np.sum((x - centre) ** 2)
    if spread > 0:
        # Seen from the line that there is, so that peaks which are paired by chance pull it nowhere.
        left = y - (line.ratio * x + line.offset)
        slope = np.sum((x - centre) * (left - left.mean())) / spread
        ratio = line.ratio + slope
        offset = line.offset + left.mean() - slope * centre
    else:
        ratio, offset = line.ratio, line.offset
    return Line(float(ratio), float(offset), float(np.mean(first.pitch[theirs] - second.pitch[own])))


def _measure(first: Constellation, second: Constellation, line: Line, params: ConstellationParams) -> Overlay:
    """The stretch along a line in which most peaks are found."""
    low, high = _common_band(first, second, line)
    pitch = second.pitch + line.pitch_steps
    frame = line.ratio * second.frame + line.offset
    inside = (pitch >= low) & (pitch <= high) & (frame >= first.frame[0] - 2) & (frame <= first.frame[-1] + 2)
    found = np.zeros(len(second), bool)
    own, theirs = _pair(first, second, line, params.near_frames, params.near_steps)
    found[own] = True
    gains = np.where(inside, np.where(found, params.max_missing, params.max_missing - 1.0), 0.0)
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    rise = sums - np.minimum.accumulate(sums)
    last = int(np.argmax(rise))
    start = last - int(np.argmin(sums[last::-1]))  # the last minimum: what lies outside the first does not count
    if last <= start:
        return Overlay(line)
    paired = found[start:last]
    if len(np.unique(second.pitch[start:last][paired] // STEPS_A_SEMITONE)) < params.min_pitches:
        return Overlay(line)
    begin, end = frame[start], frame[last - 1]
    counted = inside[start:last]
    share = float(found[start:last][counted].mean())
    there = (first.frame >= begin) & (first.frame <= end) & (first.pitch >= low) & (first.pitch <= high)
    back = float(np.isin(np.flatnonzero(there), theirs).mean()) if there.any() else 0.0
    return Overlay(line, float(end - begin) * HOP_S, min(share, back), float(rise[last]))


def _common_band(first: Constellation, second: Constellation, line: Line) -> tuple[float, float]:
    """The range of pitch in which both have peaks: a telephone leaves no others."""
    own = np.percentile(second.pitch + line.pitch_steps, (2, 98))
    theirs = np.percentile(first.pitch, (2, 98))
    return max(own[0], theirs[0]), min(own[1], theirs[1])
