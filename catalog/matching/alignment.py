"""Two Chromaprint fingerprints laid over each other: what they share at an offset.

Reference:
    Haitsma & Kalker, "A highly robust audio fingerprinting system", ISMIR 2002: proposals from equal items, confirmed
    where less than 35 % of the bits differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.matching.evidence import DuplicateParams
from catalog.matching.fingerprint_index import FingerprintIndex, Kind
from catalog.matching.segments import KEY_BITS

ITEM_BITS = 32
ITEM_SPAN_S = 2.6  # audio that one Chromaprint item is made from
OFFSET_BITS = 24  # 24 days of items
STRETCH_ITEMS = 32  # four seconds: less than the shortest excerpt
QUERIES_AT_ONCE = 64  # tracks whose votes are counted together


@dataclass(frozen=True)
class Fingerprint:
    """The items of one track, uint32 (n,), and which of them are outside silence and steady tones, bool (n,)."""

    items: np.ndarray
    changing: np.ndarray
    hop_s: float

    @classmethod
    def from_items(cls, items: np.ndarray, hop_s: float, params: DuplicateParams = DuplicateParams()) -> "Fingerprint":
        items = np.asarray(items, np.uint32)
        return cls(items, find_changing_items(items, params.static_items), hop_s)

    @property
    def length_s(self) -> float:
        """From the first to the last item outside silence and steady tones; 0 without one."""
        places = np.flatnonzero(self.changing)
        return span_s(int(places[-1] - places[0]) + 1, self.hop_s) if len(places) else 0.0


@dataclass(frozen=True)
class Alignment:
    """The stretch that two fingerprints share at one offset.

    Attributes:
        offset: Place of the second fingerprint's start in the first, in items.
        items: Length of the stretch; 0 where nothing is shared.
        score: Share of equal bits in it.
        evidence_bits: Equal bits beyond what chance and likeness explain.
    """

    offset: int
    items: int = 0
    score: float = 0.0
    evidence_bits: float = 0.0


def make_keys(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a fingerprint and their places: the high bits of each item where they change.

    The low bits come from the filter that a lossy copy changes most easily.
    """
    keys = np.asarray(items, np.uint32) >> np.uint32(ITEM_BITS - KEY_BITS)
    changes = np.ones(len(keys), bool)
    changes[1:] = keys[1:] != keys[:-1]
    places = np.flatnonzero(changes & find_changing_items(items))
    return keys[places], places


CHROMAPRINT = Kind("chromaprint-28", "chromaprint-test2", 1365 / 11_025, make_keys)


def propose_offsets(
    index: FingerprintIndex, queries: Sequence[np.ndarray], params: DuplicateParams = DuplicateParams()
) -> dict[tuple[int, int], list[int]]:
    """Find the tracks that have keys in common with a query at one offset.

    Args:
        index: Of Chromaprint fingerprints.
        queries: The items of each query.

    Returns:
        For each query's number and track's number the offsets with the most votes, in items: where the query starts
        in the track.
    """
    found: dict[tuple[int, int], list[int]] = {}
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        group = queries[start : start + QUERIES_AT_ONCE]
        made = [_make_query_keys(items, params) for items in group]
        numbers = np.repeat(np.arange(len(group)), [len(keys) for keys, _ in made])
        keys = np.concatenate([np.zeros(0, np.uint32), *(keys for keys, _ in made)])
        places = np.concatenate([np.zeros(0, np.int64), *(places for _, places in made)])
        stretches = (numbers << OFFSET_BITS) + places // STRETCH_ITEMS
        hits = index.look_up(keys, params.common_places, stretches, params.places_a_key)
        offsets = hits.place - places[hits.key]
        for number, track, offset in _count_votes(numbers[hits.key], hits.track, offsets, params):
            found.setdefault((start + number, track), []).append(offset)
    return found


def confirm_offsets(
    fingerprint_1: Fingerprint, fingerprint_2: Fingerprint, offsets: Sequence[int], params: DuplicateParams
) -> Alignment | None:
    """The best alignment near the proposed offsets; None where it proves nothing."""
    best = find_best_alignment(fingerprint_1, fingerprint_2, offsets, params)
    if best.evidence_bits < params.min_evidence_bits:
        return None
    by_chance = _expect_error(fingerprint_1, fingerprint_2, best.offset)
    return best if 1 - best.score <= params.max_chance_share * by_chance else None


def _expect_error(fingerprint_1: Fingerprint, fingerprint_2: Fingerprint, offset: int) -> float:
    """Share of unequal bits that items in any other order would have: near 0.45 in music, 0.2 in noise and applause."""
    start, end = max(0, offset), min(len(fingerprint_1.items), offset + len(fingerprint_2.items))
    places = np.arange(ITEM_BITS, dtype=np.uint32)
    first, second = (
        ((items[:, None] >> places) & 1).mean(axis=0)
        for items in (fingerprint_1.items[start:end], fingerprint_2.items[start - offset : end - offset])
    )
    return float((first * (1 - second) + second * (1 - first)).mean())


def find_best_alignment(
    fingerprint_1: Fingerprint, fingerprint_2: Fingerprint, offsets: Sequence[int], params: DuplicateParams
) -> Alignment:
    """The alignment with the most evidence near the proposed offsets."""

    def align(offset: int) -> Alignment:
        return align_fingerprints(fingerprint_1, fingerprint_2, offset, params)

    best = max(map(align, offsets), key=lambda found: found.evidence_bits)
    return max(align(best.offset - 1), best, align(best.offset + 1), key=lambda found: found.evidence_bits)


def align_fingerprints(
    fingerprint_1: Fingerprint, fingerprint_2: Fingerprint, offset: int, params: DuplicateParams = DuplicateParams()
) -> Alignment:
    """Find the stretch that two fingerprints share when the second starts `offset` items into the first.

    Every item speaks with the bits that are equal beyond what `max_bit_error` allows to differ, for or against; the
    stretch is the one with the largest sum.
    """
    start, end = max(0, offset), min(len(fingerprint_1.items), offset + len(fingerprint_2.items))
    if end <= start:
        return Alignment(offset)
    part_1, part_2 = slice(start, end), slice(start - offset, end - offset)
    changing = fingerprint_1.changing[part_1] & fingerprint_2.changing[part_2]
    errors = np.bitwise_count(fingerprint_1.items[part_1] ^ fingerprint_2.items[part_2])
    sums = np.concatenate([[0.0], np.cumsum(np.where(changing, params.max_bit_error * ITEM_BITS - errors, 0.0))])
    gains = sums - np.minimum.accumulate(sums)
    last = int(np.argmax(gains))
    first = int(np.argmin(sums[: last + 1]))
    compared = changing[first:last]
    if not compared.any():
        return Alignment(offset)
    score = 1.0 - errors[first:last][compared].mean() / ITEM_BITS
    return Alignment(offset, last - first, float(score), float(gains[last]))


def find_changing_items(items: np.ndarray, static_items: int = DuplicateParams.static_items) -> np.ndarray:
    """Mark the items outside silence and steady tones, bool (n,): runs of one item are in any other track as well."""
    if not len(items):
        return np.zeros(0, bool)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(items)) + 1, [len(items)]])
    lengths = np.diff(edges)
    return np.repeat(lengths < static_items, lengths)


def span_s(items: int, hop_s: float) -> float:
    """Length of the audio behind so many consecutive items."""
    return (items - 1) * hop_s + ITEM_SPAN_S if items else 0.0


def _make_query_keys(items: np.ndarray, params: DuplicateParams) -> tuple[np.ndarray, np.ndarray]:
    """The keys of a query; of a short one also those that differ from them by one bit."""
    keys, places = make_keys(items)
    if span_s(len(items), CHROMAPRINT.hop_s) >= params.probe_below_s:
        return keys, places
    near = np.concatenate([[np.uint32(0)], np.uint32(1) << np.arange(KEY_BITS, dtype=np.uint32)])
    return (keys[:, None] ^ near).ravel(), np.repeat(places, len(near))


def _count_votes(
    numbers: np.ndarray, tracks: np.ndarray, offsets: np.ndarray, params: DuplicateParams
) -> list[tuple[int, int, int]]:
    """Query, track and offset of each proposal: the offsets of a pair with the most votes, these first."""
    if not len(tracks):
        return []
    span = int(tracks.max()) + 1
    codes = np.sort(((numbers * span + tracks) << OFFSET_BITS) + (offsets + (1 << (OFFSET_BITS - 1))))
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    votes = np.diff(np.append(first, len(codes)))
    enough = votes >= params.min_votes
    codes, votes = codes[first[enough]], votes[enough]
    pairs, offsets = codes >> OFFSET_BITS, (codes & ((1 << OFFSET_BITS) - 1)) - (1 << (OFFSET_BITS - 1))
    order = np.lexsort([offsets, -votes, pairs])
    pairs, offsets = pairs[order], offsets[order]
    begins = np.searchsorted(pairs, pairs)
    best = np.arange(len(pairs)) - begins < params.offsets_per_pair
    return [
        (int(pair) // span, int(pair) % span, int(offset))
        for pair, offset in zip(pairs[best], offsets[best], strict=True)
    ]
