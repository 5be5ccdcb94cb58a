"""What the numbers of a rhythm vector are about, and how they turn when bars begin elsewhere. How they are made is in
tasks/music/vectors.py and basslines.py."""

from functools import cache

import numpy as np

DIMENSIONS = 96
SHIFTS = 16  # halves of a beat in the two bars of a vector
PARTS = {
    "drums": {
        "kick": slice(0, 32),
        "snare": slice(32, 64),
        "cymbals": slice(64, 80),
        "toms": slice(80, 88),
        "strokes": slice(88, 96),
    },
    "bass": {"rhythm": slice(0, 32), "pitch": slice(32, 96)},
}
"""What the numbers of an instrument's vectors are about."""

_RINGS = {"drums": ((32, 2), (32, 2), (16, 2), (8, 1), (8, 1)), "bass": ((32, 2), (32, 2), (32, 2))}
"""Runs of numbers that turn in themselves: how many they are, and how many of them are half a beat."""


def shift_beats(vectors: np.ndarray, instrument: str = "drums") -> np.ndarray:
    """Vectors (q, DIMENSIONS) at every half of a beat that their two bars can begin on, (q, SHIFTS, DIMENSIONS)."""
    return vectors[:, _find_places(instrument)]


@cache
def _find_places(instrument: str) -> np.ndarray:
    """Where each number comes from at each shift, int (SHIFTS, DIMENSIONS)."""
    halves, places, first = np.arange(SHIFTS)[:, None], [], 0
    for size, of_half_beat in _RINGS[instrument]:
        places.append(first + (np.arange(size) - of_half_beat * halves) % size)
        first += size
    return np.concatenate(places, axis=1)
