"""How the indexes of fingerprints grow: adding tracks, asking for a clip, and their size, at several sizes in one run.

Run as a script with the numbers of tracks (`make bench-duplicates`: 10,000, 30,000, 100,000). The fingerprints are
made up, of tracks of four minutes, and meet each other by chance as often as music does or more: here 1.7 of ten
million pairs of a key and an item are equal, in 80 game tracks (3.7 hours) 0.7; a clip of 15 s meets four minutes of
other music in 1.1 keys of peaks, there in 0.8. Songs for beat chroma are two progressions of triads of one key under a
melody. Clips are not asked for by it. Seconds are of processor time.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.signal import lfilter

from catalog.duplicates import ask_index, ask_peaks, match_beat_chroma, match_entries, match_peaks
from catalog.matching.alignment import CHROMAPRINT, Fingerprint
from catalog.matching.beat_chroma import BEAT_CHROMA, BeatChroma
from catalog.matching.constellation import HOP_S, PITCH_BITS, STEPS_A_SEMITONE
from catalog.matching.fingerprint_index import FingerprintIndex, IndexStore, Kind, open_store
from catalog.matching.peak_keys import PEAKS
from catalog.matching.segments import Entry
from catalog.tables import make_id
from tasks.music.beatchroma import LEVELS, pack_levels

SIZES = (1_000, 3_000, 10_000)
TRACK_S = 240.0
CLIP_S = 15.0
BATCH = 2_000  # tracks of a segment
ADDED = 200  # tracks whose matching is measured
ASKED = 40
COPY_EVERY = 100


@dataclass(frozen=True)
class Way:
    """One index: what it is made of, how its fingerprints are made up and matched, and how it is asked for a clip."""

    kind: Kind
    draw: Callable[[np.random.Generator], np.ndarray]
    copy: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    match: Callable
    cut: Callable[[np.ndarray, float, float], np.ndarray] | None = None
    ask: Callable | None = None


def run(sizes: tuple[int, ...] = SIZES) -> dict:
    """Grow the indexes and measure them at each size.

    Returns:
        For each index and size: processor seconds to match a thousand new tracks and to write them (with the mergers
        that this brings, averaged since the size before), the same of one clip in milliseconds (median and slowest),
        how many clips were found, bytes a track; the growth of a new track's cost as a power of the size, and the most
        memory held, in MB, with the mapped parts of the files.
    """
    figures = {}
    for way in WAYS:
        with TemporaryDirectory() as scratch:
            store = open_store(Path(scratch), way.kind)
            found, held = {}, 0
            for size in sizes:
                written_s = grow(store, way, held, size)
                found[size] = measure(store, way, size) | {"write_1000_s": round(1000 * written_s / (size - held), 2)}
                held = size
        costs = [row["match_1000_s"] + row["write_1000_s"] for row in found.values()]
        slope = np.polyfit(np.log(sizes), np.log(costs), 1)[0] if len(sizes) > 1 else None
        figures[way.kind.name] = found | {"growth_power": slope and round(float(slope), 2)}
    return figures | {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def grow(store: IndexStore, way: Way, first: int, last: int) -> float:
    """Add tracks to the index; the processor seconds that indexing and writing them took."""
    seconds = 0.0
    for start in range(first, last, BATCH):
        entries = [make_entry(way, number) for number in range(start, min(start + BATCH, last))]
        started = time.process_time()
        store.add(way.kind.index(entries))
        store.publish()
        seconds += time.process_time() - started
    return seconds


def measure(store: IndexStore, way: Way, size: int) -> dict:
    """Match new tracks, and ask for clips of tracks that are there."""
    index = store.index
    entries = [make_entry(way, 10_000_000 + number) for number in range(ADDED)]
    started = time.process_time()
    way.match(index, entries)
    match_s = time.process_time() - started
    size_bytes = sum(path.stat().st_size for path in store.folder.rglob("*.npy"))
    figures = {"match_1000_s": round(1000 * match_s / ADDED, 2), "bytes_a_track": size_bytes // size}
    return figures | (ask_clips(index, way, size) if way.ask else {})


def ask_clips(index: FingerprintIndex, way: Way, size: int) -> dict:
    """How long the answers take, and how many are right."""
    waits, hits = [], 0
    for number in range(ASKED):
        track = number * (size // ASKED) + 1
        rng = np.random.default_rng([7, number])
        clip = way.cut(way.copy(rng, way.draw(np.random.default_rng(track))), rng.uniform(20, 200), CLIP_S)
        started = time.process_time()
        found = way.ask(index, clip)
        waits.append(1000 * (time.process_time() - started))
        hits += make_id("track", track) in [known for known, *_ in found]
    return {
        "clip_ms": round(float(np.median(waits)), 1),
        "slowest_clip_ms": round(max(waits), 1),
        "clips_found": f"{hits} of {ASKED}",
    }


def make_entry(way: Way, number: int) -> Entry:
    """A track; one of a hundred is a copy of an earlier one."""
    is_copy = number % COPY_EVERY == COPY_EVERY - 1
    items = way.draw(np.random.default_rng(number - 50 if is_copy else number))
    return Entry.of(
        number, make_id("track", number), way.copy(np.random.default_rng([1, number]), items) if is_copy else items
    )


# Each of 16 filters gives two bits, the quarter that its value is in; from one item to the next 13 % of bits change.
FILTERS = np.random.default_rng(0).standard_normal((16, 16))
QUARTERS, GRAY = (-0.674, 0.0, 0.674), np.array([0, 1, 3, 2], np.uint32)
STAYING = 0.95
BIT_ERROR = 0.05


def draw_items(rng: np.random.Generator) -> np.ndarray:
    """The Chromaprint items of a track, uint32 (n,)."""
    count = int(TRACK_S / CHROMAPRINT.hop_s)
    drive = rng.standard_normal((count + 100, len(FILTERS))) * np.sqrt(1 - STAYING**2)
    state = lfilter([1.0], [1.0, -STAYING], drive, axis=0)[100:]
    values = state @ (FILTERS / np.linalg.norm(FILTERS, axis=1, keepdims=True)).T
    quarters = GRAY[np.digitize(values, QUARTERS)] << np.arange(0, 32, 2, dtype=np.uint32)
    return quarters.sum(axis=1).astype(np.uint32)


def copy_items(rng: np.random.Generator, items: np.ndarray) -> np.ndarray:
    """A lossy copy."""
    flips = np.packbits(rng.random((len(items), 32)) < BIT_ERROR, axis=1).view(np.uint32).ravel()
    return items ^ flips


def cut_items(items: np.ndarray, start_s: float, length_s: float) -> np.ndarray:
    first = int(start_s / CHROMAPRINT.hop_s)
    return items[first : first + int(length_s / CHROMAPRINT.hop_s)]


# Peaks lie on the tones of a key, some of which are frequent, and on a grid of sixteenths, with errors and exceptions.
PEAKS_A_SECOND = 9.2
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])
FOUR_OCTAVES = 4 * len(MAJOR)
FEW_TONES = 0.35  # concentration of the tones' frequencies
ON_SCALE, ON_GRID = 0.7, 0.6
LOST = 0.2
FASTER = 1.04


def draw_peaks(rng: np.random.Generator) -> np.ndarray:
    """The peaks of a track, uint32 (n,)."""
    count = int(TRACK_S * PEAKS_A_SECOND)
    time_s, step_s = rng.uniform(0, TRACK_S, count), rng.uniform(0.10, 0.18)
    time_s = np.where(rng.random(count) < ON_GRID, np.rint(time_s / step_s) * step_s, time_s)
    frame = np.rint(time_s / HOP_S + rng.normal(0, 0.6, count)).clip(0)
    scale = (MAJOR + rng.integers(12)) % 12
    tone = rng.choice(FOUR_OCTAVES, count, p=rng.dirichlet(np.full(FOUR_OCTAVES, FEW_TONES)))
    semitone = tone // len(MAJOR) * 12 + scale[tone % len(MAJOR)]
    pitch = semitone * STEPS_A_SEMITONE + rng.uniform(-2, 2) + rng.normal(0, 0.8, count)
    pitch = np.where(rng.random(count) < ON_SCALE, pitch, rng.uniform(0, 48 * STEPS_A_SEMITONE, count))
    return pack_peaks(frame, pitch)


def copy_peaks(rng: np.random.Generator, items: np.ndarray) -> np.ndarray:
    """A copy that is faster and as much higher, with peaks lost and others in their stead."""
    frame, pitch = unpack_peaks(items)
    lost = rng.random(len(items)) < LOST
    frame = np.where(lost, rng.uniform(0, frame.max(), len(items)), frame) / FASTER
    pitch = np.where(lost, rng.uniform(0, 48 * STEPS_A_SEMITONE, len(items)), pitch)
    return pack_peaks(frame, pitch + 12 * STEPS_A_SEMITONE * np.log2(FASTER))


def cut_peaks(items: np.ndarray, start_s: float, length_s: float) -> np.ndarray:
    frame, pitch = unpack_peaks(items)
    first = int(start_s / HOP_S)
    inside = (frame >= first) & (frame < first + length_s / HOP_S)
    return pack_peaks(frame[inside] - first, pitch[inside])


def pack_peaks(frame: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    steps = np.rint(pitch).clip(0, 48 * STEPS_A_SEMITONE - 1).astype(np.uint32)
    frames = np.rint(frame).astype(np.uint32)
    order = np.lexsort([steps, frames])
    return (frames[order] << np.uint32(PITCH_BITS)) | steps[order]


def unpack_peaks(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (items >> np.uint32(PITCH_BITS)).astype(float), (items & np.uint32((1 << PITCH_BITS) - 1)).astype(float)


# A song of 120 beats a minute: two progressions of four triads, each as often as the other, and a melody on the scale.
HALF_BEATS, HALF_BEAT_MS = int(TRACK_S * 4), 250
CHORD_PARTS = 4
TRIADS = np.array([[0, 4, 7], [2, 5, 9], [4, 7, 11], [5, 9, 0], [7, 11, 2], [9, 0, 4]])
MELODY, ROOM = 0.8, 0.15  # loudness beside the triads


def draw_chroma(rng: np.random.Generator) -> np.ndarray:
    """The beat chroma of a song, uint32 (n,)."""
    parts = np.arange(HALF_BEATS)
    verses = rng.integers(len(TRIADS), size=(2, 4))
    chords = verses[parts // (16 * CHORD_PARTS) % 2, parts // CHORD_PARTS % 4]
    level = np.zeros((12, HALF_BEATS))
    level[TRIADS[chords].T, parts] = rng.uniform(0.6, 1.0, (3, HALF_BEATS))
    level[rng.choice(MAJOR, HALF_BEATS), parts] += MELODY
    return pack_chroma(np.roll(level, rng.integers(12), axis=0) + ROOM * rng.random(level.shape))


def copy_chroma(rng: np.random.Generator, items: np.ndarray) -> np.ndarray:
    """Another recording: in another key, with another melody."""
    level = BeatChroma.from_items(items).level
    return pack_chroma(np.roll(level, rng.integers(12), axis=0) + 8 * rng.random(level.shape))


def pack_chroma(level: np.ndarray) -> np.ndarray:
    edges_s = np.arange(level.shape[1] + 1) * HALF_BEAT_MS / 1000
    return pack_levels(np.rint(LEVELS * level / level.max(axis=0)), edges_s)


def ask_items(index: FingerprintIndex, items: np.ndarray) -> list[tuple]:
    return ask_index(index, Fingerprint.from_items(items, CHROMAPRINT.hop_s))


WAYS = (
    Way(CHROMAPRINT, draw_items, copy_items, match_entries, cut_items, ask_items),
    Way(PEAKS, draw_peaks, copy_peaks, match_peaks, cut_peaks, ask_peaks),
    Way(BEAT_CHROMA, draw_chroma, copy_chroma, match_beat_chroma),
)

if __name__ == "__main__":
    print(json.dumps(run(tuple(map(int, sys.argv[1:])) or SIZES), indent=1))
