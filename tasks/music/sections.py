"""The form of a track: where its sections begin, which of them repeat, and what they may be called.

Works on units of one bar (or two seconds where there are no beats): their sound, their harmony and their level. Borders
lie where the units before differ from the units after, or where repetitions begin and end. Sections that play the same
form a group, and the groups are named by how often, how loud and where they come.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tasks.music.key import Chroma
from tasks.music.signals import LogMel

VERSION = "novelty-regularity-3"
LABELS = ("intro", "verse", "chorus", "bridge", "outro", "other")
MIN_DISTANCE = 0.5  # units of one steady noise differ by 0.15, of the plainest song by 0.55
MIN_CONTRAST = 0.05  # a steady noise reaches 0.03, songs with sections 0.06 and more, as do steady grooves
PARTS_A_UNIT = 4  # harmony is compared beat by beat


@dataclass(frozen=True)
class Sections:
    """Sections in order, without gaps, from 0 to the end of the track.

    Attributes:
        start_s: float64 (n,).
        end_s: float64 (n,), the next section's start.
        section_label: str (n,), of LABELS; "other" where it cannot be known.
        confidence: float64 (n,), of the label, 0 to 1.
    """

    start_s: np.ndarray
    end_s: np.ndarray
    section_label: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.start_s)


@dataclass(frozen=True)
class SectionParams:
    """How units become sections."""

    unit_s: float = 2.0  # without beats
    max_units: int = 1_024  # longer tracks get units of more bars: the similarity matrix grows with the square
    min_section_units: int = 4
    min_section_s: float = 6.0
    min_track_s: float = 20.0  # a shorter clip is one section
    full_tonality: float = 0.3  # from which harmony counts as much as sound; noise and drums have less
    kernel_units: int = 8  # looked at on both sides of a border
    border_cost: float = 0.2  # what a border's novelty has to exceed, 1 being that of a clear border
    odd_length_cost: float = 0.2  # more for a section that is not a multiple of 8 units, less of 4 or 2
    same_group: float = 0.8  # likeness of sections that play the same
    bridge_from: float = 0.4  # of the track: what comes only once after that is a bridge
    min_named_s: float = 60.0  # an excerpt does not show the form


def detect_sections(
    mixture: LogMel,
    chroma: Chroma,
    beat_times_s: np.ndarray,
    beat_in_bar: np.ndarray,
    duration_s: float,
    params: SectionParams = SectionParams(),
) -> Sections:
    """Cut a track into sections and name them.

    Args:
        mixture: Of the whole track, at any hop up to a tenth of a second.
        chroma: Of the whole track.
        beat_times_s: float (beats,); may be empty.
        beat_in_bar: int (beats,), 1 on the downbeat.
        duration_s: Length of the track.
        params: Sizes and thresholds.

    Returns:
        At least one section for any track longer than 0 s; none for an empty one. Borders lie on downbeats where there
        are beats. Clips under `min_track_s` are one section; those under `min_named_s`, and music in which nothing
        returns, have sections called "other" with low confidence.

    References:
        J. Foote, "Automatic audio segmentation using a measure of audio novelty", ICME 2000 (the checkerboard kernel);
        J. Serrà et al., "Unsupervised music structure annotation by time series structure features and segment
        similarity", IEEE Trans. Multimedia 16(5), 2014 (borders of repetitions);
        G. Sargent, F. Bimbot & E. Vincent, "Estimating the structural segmentation of popular music pieces under
        regularity constraints", IEEE/ACM TASLP 25(2), 2017 (the cost of odd lengths).
    """
    if duration_s <= 0:
        return _sections([], np.zeros(0), [], [])
    edges = cut_units(beat_times_s, beat_in_bar, duration_s, params)
    minimum = max(params.min_section_units, int(np.ceil(params.min_section_s / np.median(np.diff(edges)))))
    if duration_s < params.min_track_s or len(edges) - 1 < 2 * minimum:
        return _sections([0], np.array([0.0, duration_s]), ["other"], [0.1])

    sound, harmony, level = describe_units(mixture, chroma, edges)
    likeness = compare_units(sound, harmony, min(1.0, chroma.tonality / params.full_tonality))
    novelty = find_novelty(likeness, params.kernel_units)
    borders = pick_borders(novelty, minimum, params.border_cost, params.odd_length_cost)
    spans = list(pairwise([0, *borders, len(edges) - 1]))
    groups = group_spans(likeness, spans, params.same_group)
    labels, confidence = ["other"] * len(spans), [0.1] * len(spans)
    if duration_s >= params.min_named_s:
        labels, confidence = name_spans(groups, spans, level, params.bridge_from)
    return _sections([first for first, _ in spans], edges, labels, confidence)


def cut_units(
    beat_times_s: np.ndarray, beat_in_bar: np.ndarray, duration_s: float, params: SectionParams = SectionParams()
) -> np.ndarray:
    """Edges of the units, float64 (units + 1,), from 0 to duration_s: downbeats, or steps of unit_s without them."""
    downbeats = np.asarray(beat_times_s, float)[np.asarray(beat_in_bar) == 1]
    downbeats = downbeats[(downbeats > 0) & (downbeats < duration_s)]
    if len(downbeats) < 2:
        count = max(1, round(duration_s / params.unit_s))
        edges = np.linspace(0, duration_s, count + 1)
    else:
        # What lies before the first downbeat and after the last belongs to its neighbour, unless it is a bar's length.
        bar_s = np.median(np.diff(downbeats))
        lead = np.arange(downbeats[0] - bar_s, 0, -bar_s)[::-1]
        tail = np.arange(downbeats[-1] + bar_s, duration_s, bar_s)
        inner = np.concatenate([lead, _fill_gaps(downbeats, bar_s), tail])
        inner = inner[(inner > 0.75 * bar_s) & (inner < duration_s - 0.75 * bar_s)]
        edges = np.concatenate([[0.0], inner, [duration_s]])
    bars_each = int(np.ceil((len(edges) - 1) / params.max_units))
    return edges if bars_each == 1 else np.append(edges[:-1][::bars_each], duration_s)


def describe_units(mixture: LogMel, chroma: Chroma, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each unit sounds like.

    Returns:
        sound float32 (units, 80), the mean spectrum; harmony float32 (units, 48), the chroma of each quarter of the
        unit with length 1 (0 for silence); level float32 (units,), the mean of the spectrum.
    """
    sound = _average_frames(mixture.values, mixture.hop_s, edges)
    inner = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(PARTS_A_UNIT) / PARTS_A_UNIT
    parts = _average_frames(chroma.values, chroma.hop_s, np.append(inner.ravel(), edges[-1]))
    parts = parts / np.maximum(1e-9, np.linalg.norm(parts, axis=1, keepdims=True))
    return sound, parts.reshape(len(edges) - 1, -1), sound.mean(axis=1)


def compare_units(sound: np.ndarray, harmony: np.ndarray, trust: float = 1.0) -> np.ndarray:
    """Likeness of all units with each other, float (units, units), 0 to 1: half sound, half harmony.

    The half of the harmony shrinks with the trust in it, from 1 to 0.

    Distances are taken in proportion to their own median over the track: what is alike depends on the song, but what
    differs as little as two seconds of the same noise is alike in any.
    """
    return (_liken(sound) + trust * _liken(harmony)) / (1 + trust)


def find_novelty(likeness: np.ndarray, kernel_units: int) -> np.ndarray:
    """How much the track changes before each unit, float64 (units,), largest 1 (all 0 where nothing changes).

    The sum of two curves: Foote's checkerboard along the diagonal (contrast), and the change of the time-lag matrix
    (repetitions that begin or end).
    """
    contrast = _checkerboard(likeness, kernel_units)
    if contrast.max() < MIN_CONTRAST:
        return np.zeros(len(likeness))
    repetition = _lag_change(likeness, kernel_units // 2)
    total = contrast / contrast.max() + repetition / max(repetition.max(), 1e-9)
    return total / total.max()


def pick_borders(novelty: np.ndarray, min_units: int, border_cost: float, odd_length_cost: float) -> list[int]:
    """Choose the units that begin a section, the first one left out.

    Dynamic programming over all ways to cut at peaks of the novelty: the heights of the peaks are the gain, every
    section costs border_cost and up to odd_length_cost more where its length is uneven.

    Args:
        novelty: float (units,).
        min_units: The shortest section.
        border_cost: Of a section; a clear border gains 1.
        odd_length_cost: Of an uneven length; a quarter for multiples of 4, three quarters for multiples of 2.
    """
    units = len(novelty)
    gain = _peak_heights(novelty, reach=4)
    # The first and the last unit may be longer than a bar, so a section at the edge may have one unit less.
    ends = [end for end in np.flatnonzero(gain).tolist() if min_units - 1 <= end <= units - min_units + 1] + [units]
    best, start_of = {0: 0.0}, {}
    for end in ends:
        shortest = {start: min_units - (start == 0 or end == units) for start in best} | {0: 0}
        starts = np.array([start for start in best if end - start >= shortest[start]])
        lengths = end - starts
        uneven = np.select([lengths % 8 == 0, lengths % 4 == 0, lengths % 2 == 0], [0.0, 0.25, 0.75], 1.0)
        totals = np.array([best[start] for start in starts.tolist()]) - border_cost - odd_length_cost * uneven
        chosen = int(np.argmax(totals))
        best[end] = float(totals[chosen]) + (gain[end] if end < units else 0.0)
        start_of[end] = int(starts[chosen])
    borders, unit = [], start_of[units]
    while unit > 0:
        borders.append(unit)
        unit = start_of[unit]
    return borders[::-1]


def group_spans(likeness: np.ndarray, spans: list[tuple[int, int]], same_group: float) -> np.ndarray:
    """Number the spans (first unit, one past the last), int (spans,); those that play the same share a number."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(spans) == 1:
        return np.zeros(1, int)
    distance = np.zeros((len(spans), len(spans)))
    for i, (first_i, end_i) in enumerate(spans):
        for j, (first_j, end_j) in enumerate(spans[:i]):
            distance[i, j] = distance[j, i] = 1 - _best_diagonal(likeness[first_i:end_i, first_j:end_j])
    tree = linkage(squareform(distance), method="average")
    return fcluster(tree, t=1 - same_group, criterion="distance") - 1


def name_spans(
    groups: np.ndarray, spans: list[tuple[int, int]], level: np.ndarray, bridge_from: float
) -> tuple[list[str], list[float]]:
    """Name the spans by their group's repetitions, level and place; a confidence for each.

    The chorus is the loudest of the groups that return, the verse the other that returns most. What comes once is an
    intro at the start, an outro at the end, a bridge late in the track. Without a repeated group, or with nothing but
    one, nothing is known.
    """
    labels, confidence = ["other"] * len(spans), [0.1] * len(spans)
    repeated = [group for group in np.unique(groups) if (groups == group).sum() > 1]
    if not repeated or len(np.unique(groups)) < 2 or len(spans) < 3:
        return labels, confidence

    levels = np.array([level[first:end].mean() for first, end in spans])
    spread = max(1e-9, levels.std())
    units = level.shape[0]
    cover = {group: sum(spans[i][1] - spans[i][0] for i in np.flatnonzero(groups == group)) for group in repeated}
    loudness = {group: (levels[groups == group].mean() - levels.mean()) / spread for group in repeated}
    score = {group: loudness[group] + 2 * cover[group] / units for group in repeated}
    chorus = max(repeated, key=score.get)
    others = sorted((group for group in repeated if group != chorus), key=lambda group: -cover[group])
    names = {chorus: ("chorus", 0.5)}
    if others:
        lead = min(1.0, max(0.0, score[chorus] - max(score[group] for group in others)))
        names = {chorus: ("chorus", 0.4 + 0.4 * lead), others[0]: ("verse", 0.4 + 0.3 * lead)}
    last = len(spans) - 1
    for i, group in enumerate(groups):
        if group in names:
            labels[i], confidence[i] = names[group]
        elif (groups == group).sum() == 1 and spans[i][0] >= bridge_from * units and i < last:
            labels[i], confidence[i] = "bridge", 0.4
        if i in (0, last):
            alike = levels[groups == group].mean() if group in names else levels.mean()
            quieter = levels[i] < alike - 0.5 * spread
            if group not in names or quieter:
                labels[i], confidence[i] = ("intro" if i == 0 else "outro"), 0.6 if quieter else 0.4
    return labels, confidence


def _sections(firsts: list[int], edges: np.ndarray, labels: list[str], confidence: list[float]) -> Sections:
    start_s = edges[firsts] if len(firsts) else np.zeros(0)
    end_s = np.append(start_s[1:], edges[-1:])
    return Sections(start_s, end_s, np.array(labels, "U6"), np.round(np.array(confidence, float), 4))


def _fill_gaps(downbeats: np.ndarray, bar_s: float) -> np.ndarray:
    """Downbeats with edges a bar apart wherever the beat is silent for three bars and more."""
    bars = np.diff(downbeats) / bar_s
    parts = [
        np.linspace(first, first + bar_s * gap, round(gap) if gap >= 3 else 1, endpoint=False)
        for first, gap in zip(downbeats[:-1], bars, strict=True)
    ]
    return np.concatenate([*parts, downbeats[-1:]])


def _average_frames(values: np.ndarray, hop_s: float, edges: np.ndarray) -> np.ndarray:
    """Means of frames (bands, frames) between edges in seconds, (len(edges) - 1, bands); at least one frame each."""
    frames = values.shape[1]
    if not frames:
        return np.zeros((len(edges) - 1, len(values)), np.float32)
    first = np.minimum(np.rint(edges / hop_s).astype(int), frames - 1)
    return np.stack([values[:, a : max(b, a + 1)].mean(axis=1) for a, b in pairwise(first)])


def _liken(features: np.ndarray) -> np.ndarray:
    """exp(-distance² / median distance²) of rows (units, d), the median being MIN_DISTANCE at least.

    Each row is at no distance from itself, exactly: what rounding leaves there would pass for repetitions that come and
    go in music where nothing returns.
    """
    squares = (features**2).sum(axis=1)
    distance = np.maximum(0, squares[:, None] + squares[None, :] - 2 * features @ features.T)
    np.fill_diagonal(distance, 0.0)
    return np.exp(-distance / max(float(np.median(distance)), MIN_DISTANCE**2))


def _checkerboard(likeness: np.ndarray, size: int) -> np.ndarray:
    """Correlation of the diagonal with a tapered checkerboard of 2 · size units, (units,), 0 where negative."""
    taper = np.exp(-0.5 * ((np.arange(-size, size) + 0.5) / (0.5 * size)) ** 2)
    sign = np.sign(np.arange(-size, size) + 0.5)
    kernel = np.outer(taper * sign, taper * sign)
    padded = np.pad(likeness, size, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * size, 2 * size))
    curve = np.array([(windows[unit, unit] * kernel).sum() for unit in range(len(likeness))])
    return np.maximum(curve, 0) / np.abs(kernel).sum()


def _lag_change(likeness: np.ndarray, width: int) -> np.ndarray:
    """How much the smoothed time-lag matrix changes before each unit, (units,)."""
    from scipy.ndimage import gaussian_filter1d

    units = len(likeness)
    strong = np.where(likeness >= np.quantile(likeness, 0.9), likeness, 0.0)
    lag = np.stack([np.roll(strong[unit], -unit) for unit in range(units)])  # lag[t, l]: unit t is like unit t + l
    smooth = gaussian_filter1d(lag, width, axis=0, mode="nearest")
    smooth = gaussian_filter1d(smooth, 0.5, axis=1, mode="wrap")
    change = np.zeros(units)
    change[1:] = (np.diff(smooth, axis=0) ** 2).sum(axis=1)
    return np.sqrt(change)


def _peak_heights(novelty: np.ndarray, reach: int) -> np.ndarray:
    """Height of each local maximum above the lowest units on both sides, (units,); 1 for clear ones, 0 elsewhere."""
    height = np.zeros(len(novelty))
    for unit in range(1, len(novelty) - 1):
        before, after = novelty[max(0, unit - reach) : unit], novelty[unit + 1 : unit + 1 + reach]
        if novelty[unit] > before[-1] and novelty[unit] >= after[0]:
            height[unit] = novelty[unit] - (before.min() + after.min()) / 2
    if not height.any():
        return height
    return np.minimum(1.0, height / np.quantile(height[height > 0], 0.8))


def _best_diagonal(block: np.ndarray) -> float:
    """The largest mean along a diagonal of a block of the likeness, over diagonals of at least two thirds its size."""
    shorter = min(block.shape)
    needed = max(1, int(np.ceil(shorter * 2 / 3)))
    offsets = range(-(block.shape[0] - needed), block.shape[1] - needed + 1)
    return max(float(np.diagonal(block, offset).mean()) for offset in offsets)
