"""How matching grows with the lake: all tracks with each other, and one clip of 15 s with all, in one run.

Run as a script with the numbers of tracks (1000 and 4000 by default). The fingerprints are made up: in one of a hundred
tracks a lossy copy of another, and from one item to the next as few bits change as in music.
"""

import sys
import time

import duckdb
import numpy as np
import pyarrow as pa

from catalog.duplicates import find_duplicates_of, find_matches
from catalog.tables import FINGERPRINTS, SONG_GROUPS, TRACKS, make_id

SIZES = (1_000, 4_000)
TRACK_ITEMS = 1_938  # four minutes
CLIP_ITEMS = 100
HOP_S = 1365 / 11_025
CHANGING_BITS = 0.15
COPY_ERROR = 0.05
COPY_EVERY = 100


def run(sizes: tuple[int, ...] = SIZES) -> dict:
    """Measure each size.

    Returns:
        For each size: `matches_s` and `found` of all pairs, `query_s` and `query_found` of one clip.
    """
    return {size: measure(size) for size in sizes}


def measure(size: int) -> dict:
    items = draw_items(size)
    with duckdb.connect() as connection:
        for table in (TRACKS, FINGERPRINTS, SONG_GROUPS):
            connection.execute(table.create_sql()[0])
        tracks = [make_id("track", number) for number in range(size)]
        offsets = pa.array(np.arange(0, items.size + 1, TRACK_ITEMS, dtype=np.int32))
        rows = {
            "track_id": tracks,
            "algorithm": ["made-up"] * size,
            "hop_s": [HOP_S] * size,
            "items": pa.ListArray.from_arrays(offsets, pa.array(items.ravel())),
        }
        connection.register("rows", pa.table(rows))
        connection.execute("INSERT INTO fingerprints BY NAME SELECT * FROM rows")
        connection.execute("INSERT INTO tracks (track_id) SELECT track_id FROM rows")

        started = time.perf_counter()
        found = len(find_matches(connection))
        matched = time.perf_counter()
        known = find_duplicates_of(connection, items[1, 700 : 700 + CLIP_ITEMS], HOP_S)
        ended = time.perf_counter()
    return {
        "matches_s": round(matched - started, 2),
        "found": f"{found} of {size // COPY_EVERY}",
        "query_s": round(ended - matched, 2),
        "query_found": [song.track_id for song in known] == tracks[1:2],
    }


def draw_items(size: int, seed: int = 0) -> np.ndarray:
    """The items of so many tracks, uint32 (size, TRACK_ITEMS)."""
    rng = np.random.default_rng(seed)
    items = np.empty((size, TRACK_ITEMS), np.uint32)
    for number in range(size):
        if number % COPY_EVERY == COPY_EVERY - 1:
            items[number] = items[number - 50] ^ _draw_bits(rng, COPY_ERROR)
        else:
            items[number] = np.bitwise_xor.accumulate(_draw_bits(rng, CHANGING_BITS)) ^ np.uint32(rng.integers(2**32))
    return items


def _draw_bits(rng: np.random.Generator, share: float) -> np.ndarray:
    """Items in which this share of the bits is set, uint32 (TRACK_ITEMS,)."""
    bits = rng.random((TRACK_ITEMS, 32), dtype=np.float32) < share
    return np.packbits(bits, axis=1).view(np.uint32).ravel()


if __name__ == "__main__":
    for size, figures in run(tuple(map(int, sys.argv[1:])) or SIZES).items():
        print(size, figures)
