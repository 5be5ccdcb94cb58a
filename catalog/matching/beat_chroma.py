"""Other recordings of a song, found by their harmony from beat to beat, whatever their key, tempo and instruments.

A recording becomes a vector: the magnitudes of the two-dimensional Fourier transform of its chroma, in patches of
`PATCH_BEATS` beats. A change of key turns the chroma and a later start shifts it, which both leave the magnitudes as
they are. The nearest vectors are candidates; each is confirmed by laying the two chroma over each other in all twelve
keys and at all offsets. Beats are not always counted at one level, so a query is also made with other numbers of beats.

References:
    Ellis & Bertin-Mahieux, "Large-scale cover song recognition using the 2D Fourier transform magnitude", ISMIR 2012,
    for the vector; Serrà, Gómez, Herrera & Serra, "Chroma binary similarity and local alignment applied to cover song
    identification", IEEE TASLP 16(6), 2008, for transpositions and cross-similarity.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from catalog.matching.evidence import Match
from catalog.matching.fingerprint_index import FingerprintIndex, Kind
from catalog.matching.segments import make_no_keys

METHOD = "beat-chroma"
VERSION = "beat-chroma-1"
PARTS_A_BEAT = 2
PATCH_BEATS = 32
PATCH_PARTS = PATCH_BEATS * PARTS_A_BEAT
PATCH_HOP = PATCH_PARTS // 4
VECTOR_ROWS = 7  # of 12: the others mirror them
VECTOR_SIZE = VECTOR_ROWS * PATCH_PARTS
SEARCHED_TRACKS = 50_000  # vectors compared at once: 90 MB
RICH = 4.0  # ways in which harmony moves: below, chance makes two songs alike


@dataclass(frozen=True)
class BeatChromaParams:
    """How candidates are sought and confirmed.

    Attributes:
        levels: Beats of a query for one of the candidate that are tried: the levels at which a pulse is counted.
        most_candidates: So many are confirmed, the nearest vectors first.
        min_beats: A shorter shared stretch says nothing.
        min_coverage: Share of the shorter of the two that the stretch has.
        min_score: Below, nothing is kept.
        max_speed_ratio: Between two recordings of one song, either way.
    """

    levels: tuple[float, ...] = (1.0, 1 / 2, 2.0, 3 / 4, 4 / 3, 2 / 3, 3 / 2)
    most_candidates: int = 20
    min_beats: int = PATCH_BEATS
    min_coverage: float = 0.7
    min_score: float = 0.5
    max_speed_ratio: float = 1.6


@dataclass(frozen=True)
class BeatChroma:
    """The pitch classes of each half beat.

    Attributes:
        level: float64 (12, n), row 0 = C; the strongest of a half beat is 15.
        edges_s: float64 (n + 1,), where the half beats begin, and the last one ends.
    """

    level: np.ndarray
    edges_s: np.ndarray

    @classmethod
    def from_items(cls, items: np.ndarray) -> "BeatChroma":
        """From the items of a fingerprint (see tasks/music/beatchroma.py); of none or broken ones, no half beats."""
        items = np.asarray(items if len(items) % 2 else (), np.uint32)
        pairs = items[1:].reshape(-1, 2)
        shifts = 4 * np.arange(8, dtype=np.uint32)[:, None]
        level = np.concatenate([(pairs[:, 0] >> shifts) & 15, (pairs[:, 1] >> (16 + shifts[:4])) & 15])
        lengths = np.concatenate([items[:1], pairs[:, 1] & 0xFFFF]).astype(np.float64)
        return cls(level.astype(np.float64), np.cumsum(lengths) / 1_000)

    @property
    def parts(self) -> int:
        return self.level.shape[1]

    @property
    def length_s(self) -> float:
        """From the first beat to the end of the last one; 0 without beats."""
        return float(self.edges_s[-1] - self.edges_s[0]) if self.parts else 0.0

    def count_again(self, level: float) -> "BeatChroma":
        """The same with so many beats for each of its own."""
        if level == 1.0:
            return self
        places = np.arange(int(self.parts * level) + 1) / level
        own = np.arange(self.parts + 1)
        running = np.cumsum(np.pad(self.level, ((0, 0), (1, 0))), axis=1)
        parts = np.diff([np.interp(places, own, row) for row in running], axis=1)
        return BeatChroma(parts, np.interp(places, own, self.edges_s))

    @cached_property
    def movement(self) -> np.ndarray:
        """How the harmony of each half beat differs from that of the whole, unit columns (12, n)."""
        return _move(self.level)

    @cached_property
    def smooth_movement(self) -> np.ndarray:
        """The same, each half beat with half of its neighbours."""
        wide = np.pad(self.level, ((0, 0), (1, 1)), mode="edge")
        return _move(wide[:, 1:-1] + (wide[:, :-2] + wide[:, 2:]) / 2)

    @cached_property
    def richness(self) -> float:
        """In how many independent ways the harmony moves, 1 to 11; 0 where it stands still."""
        strength = np.linalg.eigvalsh(self.smooth_movement @ self.smooth_movement.T)
        total = strength.sum()
        return float(total**2 / np.square(strength).sum()) if total > 0 else 0.0


@dataclass(frozen=True)
class Layover:
    """Two recordings laid over each other.

    Attributes:
        score: Mean cosine of the movement of both over the stretch that they share, from 0 to 1; less where the harmony
            of one is so poor that it is soon alike.
        start, parts: The stretch, in half beats of the first.
        offset: Where the second, counted anew, starts in the first, in half beats.
        semitones: How much higher the second sounds, -6 to 5.
    """

    score: float
    start: int
    parts: int
    offset: int
    semitones: int

    def to_match(self, tracks: tuple[str, str], first: BeatChroma, second: BeatChroma) -> Match:
        """The evidence for two tracks, in the order of the two recordings; the second counted as it was laid."""
        last = self.start + self.parts
        start_s, end_s = first.edges_s[self.start], first.edges_s[last]
        own_start_s, own_end_s = second.edges_s[self.start - self.offset], second.edges_s[last - self.offset]
        speed_ratio = (end_s - start_s) / (own_end_s - own_start_s)
        return Match.between(
            tracks,
            (first.length_s, second.length_s),
            method=METHOD,
            method_version=VERSION,
            score=self.score,
            overlap_s=float(end_s - start_s),
            offset_s=float(start_s - speed_ratio * own_start_s),
            speed_ratio=float(speed_ratio),
            pitch_semitones=float(self.semitones),
        )


def make_vector(items: np.ndarray) -> np.ndarray:
    """The vector of a recording, uint8 (VECTOR_SIZE,); zeros without harmony."""
    return _describe(BeatChroma.from_items(items))


BEAT_CHROMA = Kind("beat-chroma-1", "beat-chroma-1", 0.001, make_no_keys, make_vector)


def propose_levels(
    index: FingerprintIndex,
    queries: Sequence[BeatChroma],
    before: Sequence[int],
    params: BeatChromaParams = BeatChromaParams(),
) -> list[list[tuple[int, float]]]:
    """Find the tracks whose harmony moves most like that of each query.

    Args:
        index: Of beat chroma.
        queries: Recordings.
        before: For each query, the number from which on tracks are left out.

    Returns:
        For each query the tracks' numbers with the level at which it is to be counted, the most alike first.
    """
    asked = [_describe(query.count_again(level)) for query in queries for level in params.levels]
    found: list[dict[int, tuple[float, float]]] = [{} for _ in queries]
    for part, base in zip(index.parts, index.bases, strict=False):
        for start in range(0, part.segment.tracks, SEARCHED_TRACKS):
            block = slice(start, start + SEARCHED_TRACKS)
            for row, likeness, place in _search(asked, part.segment.vectors[block], part.alive[block], params):
                query, level = divmod(row, len(params.levels))
                track = int(base) + start + place
                if track < before[query]:
                    known = found[query].get(track, (0.0, 0.0))
                    found[query][track] = max(known, (likeness, params.levels[level]))
    return [_choose(tracks, params.most_candidates) for tracks in found]


def lay_over(first: BeatChroma, second: BeatChroma, params: BeatChromaParams = BeatChromaParams()) -> Layover | None:
    """Lay the second over the first in the key and at the offset at which they are most alike; None if they are not."""
    sizes = first.parts, second.parts
    least = max(PARTS_A_BEAT * params.min_beats, params.min_coverage * min(sizes))
    if min(sizes) < least:
        return None
    offsets = np.arange(-sizes[1] + 1, sizes[0])
    shared = np.minimum(sizes[0], offsets + sizes[1]) - np.maximum(0, offsets)
    length = 1 << int(np.ceil(np.log2(sum(sizes))))
    own = np.fft.rfft(first.smooth_movement, length, axis=1)
    theirs = np.conj(np.fft.rfft(second.smooth_movement, length, axis=1))
    sums = np.fft.irfft([(own * np.roll(theirs, turn, axis=0)).sum(axis=0) for turn in range(12)], length, axis=1)
    likeness = np.where(shared >= least, sums[:, offsets % length] / shared, -1.0)
    turn, place = np.unravel_index(np.argmax(likeness), likeness.shape)
    richness = np.sqrt(first.richness * second.richness)
    score = float(likeness[turn, place]) * min(1.0, np.sqrt(richness / RICH))
    offset = int(offsets[place])
    layover = Layover(score, max(0, offset), int(shared[place]), offset, (6 - int(turn)) % 12 - 6)
    if score < params.min_score:
        return None
    match = layover.to_match(("1", "2"), first, second)
    return layover if abs(np.log(match.speed_ratio)) <= np.log(params.max_speed_ratio) else None


def _move(level: np.ndarray) -> np.ndarray:
    """Columns of length 1, or 0 where nothing sounds: each as it differs from the mean of all."""
    level = level / np.maximum(np.linalg.norm(level, axis=0), 1e-9)
    level = level - level.mean(axis=1, keepdims=True)
    length = np.linalg.norm(level, axis=0)
    return level * np.where(length > 1e-6, 1 / np.maximum(length, 1e-6), 0.0)


def _describe(chroma: BeatChroma) -> np.ndarray:
    if not chroma.parts:
        return np.zeros(VECTOR_SIZE, np.uint8)
    movement = chroma.movement
    if chroma.parts < PATCH_PARTS:  # as if it were played again and again
        movement = np.pad(movement, ((0, 0), (0, PATCH_PARTS - chroma.parts)), mode="wrap")
    starts = np.arange(0, movement.shape[1] - PATCH_PARTS + 1, PATCH_HOP)
    patches = np.stack([movement[:, start : start + PATCH_PARTS] for start in starts])
    size = np.median(np.abs(np.fft.fft2(patches)), axis=0)[:VECTOR_ROWS]
    size[0, 0] = 0.0  # how loud it is
    return np.rint(255 * size.ravel() / max(size.max(), 1e-9)).astype(np.uint8)


def _to_unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _choose(tracks: Mapping[int, tuple[float, float]], most: int) -> list[tuple[int, float]]:
    best = sorted(tracks.items(), key=lambda item: (-item[1][0], item[0]))[:most]
    return [(track, level) for track, (_, level) in best]


def _search(
    asked: Sequence[np.ndarray], vectors: np.ndarray, alive: np.ndarray, params: BeatChromaParams
) -> Iterator[tuple[int, float, int]]:
    """The nearest of some vectors to each of those asked for: which was asked, the cosine, which was found."""
    import faiss

    most = min(len(vectors), params.most_candidates + int((~alive).sum()))
    likeness, track = faiss.knn(_to_unit(asked), _to_unit(vectors), most, metric=faiss.METRIC_INNER_PRODUCT)
    rows, columns = np.nonzero((likeness > 0) & alive[track])
    yield from zip(rows.tolist(), likeness[rows, columns].tolist(), track[rows, columns].tolist(), strict=True)
