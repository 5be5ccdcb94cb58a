"""One immutable part of an inverted index over fingerprints: which items of which tracks have a key.

A segment holds the items of its tracks one after the other (`items`), and the places of each key in them, sorted by
key, or for each track a vector instead. The keys are stored as a directory of their high bits and their low bits alone,
so that a place takes five or six bytes. A segment lies in a folder of .npy files that are mapped into memory, and is
never changed: segments are merged into new ones. Which segments make an index is in fingerprint_index.py.

Reference:
    Zobel & Moffat, "Inverted files for text search engines", ACM Computing Surveys 38(2), 2006, for inverted lists
    merged by levels.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

KEY_BITS = 28
PLACES_A_STEP = 8  # of the directory: fewer make it long, more make a search slow
MOST_LOW_BITS = 16
MERGE_RANGES = 64  # keys are merged range by range, so that memory does not grow with the segments
NO_ITEMS = np.zeros(0, np.uint32)
MAX_ITEMS = 1 << 32  # places are 32-bit numbers

KeyMaker = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From the items of a track, uint32 (n,), to keys below 2 ** KEY_BITS and the place of each in the items."""

VectorMaker = Callable[[np.ndarray], np.ndarray]
"""From the items of a track, uint32 (n,), to what its nearest neighbours are sought by, uint8 (d,)."""


def make_no_keys(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys of fingerprints that are found by their vectors."""
    return np.zeros(0, np.uint32), np.zeros(0, np.int64)


def make_no_vector(items: np.ndarray) -> np.ndarray:
    """The vector of fingerprints that are found by their keys."""
    return np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Entry:
    """The fingerprint of one track as the lake has it.

    Attributes:
        row: Number of its row in the lake, which changes when the fingerprint does.
        track_id: The track.
        items: uint32 (n,); none for a track that has the items of another.
        hash: Of the items (see `hash_items`).
    """

    row: int
    track_id: str
    items: np.ndarray
    hash: int

    @classmethod
    def of(cls, row: int, track_id: str, items: np.ndarray) -> "Entry":
        return cls(row, track_id, items, hash_items(items))

    def to_alias(self) -> "Entry":
        """The entry of a track whose items the index holds under another."""
        return replace(self, items=NO_ITEMS)


@dataclass(frozen=True, eq=False)
class Segment:
    """An inverted index over the items of some tracks.

    Attributes:
        rows: int64 (tracks,), the rows of the lake in ascending order.
        track_ids: uint8 (tracks, 16), the bytes of each UUID.
        hashes: uint64 (tracks,), of each track's items: equal items have equal hashes.
        starts: int64 (tracks + 1,), where each track begins in `items`.
        items: uint32 (n,).
        directory: int64, where the keys with the same high bits begin.
        lows: The low bits of each key, in ascending order below each place of the directory.
        places: uint32, the place in `items` that each key was made at.
        vectors: uint8 (tracks, d), what nearest neighbours are sought by; d is 0 where the keys are looked up instead.
    """

    rows: np.ndarray
    track_ids: np.ndarray
    hashes: np.ndarray
    starts: np.ndarray
    items: np.ndarray
    directory: np.ndarray
    lows: np.ndarray
    places: np.ndarray
    vectors: np.ndarray

    @classmethod
    def build(
        cls, entries: Sequence[Entry], make_keys: KeyMaker, make_vector: VectorMaker = make_no_vector
    ) -> "Segment":
        """Index the fingerprints of some tracks."""
        entries = sorted(entries, key=lambda entry: entry.row)
        starts = np.concatenate([[0], np.cumsum([len(entry.items) for entry in entries], dtype=np.int64)])
        made = [make_keys(entry.items) for entry in entries]
        keys = np.concatenate([np.zeros(0, np.uint32), *(keys for keys, _ in made)]).astype(np.uint32)
        places = np.concatenate(
            [np.zeros(0, np.int64), *(start + places for start, (_, places) in zip(starts[:-1], made, strict=True))]
        ).astype(np.uint32)
        order = np.argsort(keys, kind="stable")
        keys, low_bits = keys[order], _low_bits(len(keys))
        rows = np.array([entry.row for entry in entries], np.int64)
        return cls(
            rows=rows,
            track_ids=_pack_ids([entry.track_id for entry in entries]),
            hashes=np.array([entry.hash for entry in entries], np.uint64),
            starts=starts.astype(np.int64),
            items=np.concatenate([np.zeros(0, np.uint32), *(entry.items for entry in entries)]).astype(np.uint32),
            directory=_make_directory(keys, low_bits),
            lows=(keys & np.uint32((1 << low_bits) - 1)).astype(_low_type(low_bits)),
            places=places[order],
            vectors=np.stack([*(make_vector(entry.items) for entry in entries), make_vector(NO_ITEMS)])[:-1],
        )

    @classmethod
    def open(cls, folder: Path) -> "Segment":
        """Map a segment's files into memory.

        Raises:
            OSError, ValueError: A file is missing or cut off.
        """
        return cls(**{part.name: np.load(folder / f"{part.name}.npy", mmap_mode="r") for part in fields(cls)})

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for part in fields(self):
            np.save(folder / f"{part.name}.npy", getattr(self, part.name))

    @property
    def tracks(self) -> int:
        return len(self.rows)

    def track_id(self, track: int) -> str:
        """The identifier of the track with this number in the segment."""
        text = bytes(self.track_ids[track]).hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def track_items(self, track: int) -> np.ndarray:
        """The items of the track with this number, uint32 (n,)."""
        return np.asarray(self.items[self.starts[track] : self.starts[track + 1]])

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the places of each key begin and end, two int64 (n,)."""
        low_bits = self._low_bits
        high = (keys >> np.uint32(low_bits)).astype(np.int64)
        wanted = (keys & np.uint32((1 << low_bits) - 1)).astype(self.lows.dtype)
        first, last = self.directory[high], self.directory[high + 1]
        begin = _search(self.lows, first, last, wanted, np.less)
        end, held = begin.copy(), np.flatnonzero(begin < last)
        held = held[self.lows[begin[held]] == wanted[held]]
        end[held] = _search(self.lows, begin[held], last[held], wanted[held], np.less_equal)
        return begin, end

    @property
    def _low_bits(self) -> int:
        return KEY_BITS - (len(self.directory) - 1).bit_length() + 1

    def read_keys(self, first_key: int, last_key: int) -> tuple[np.ndarray, np.ndarray]:
        """The keys of a range that starts and ends with a whole place of the directory, and their places."""
        low_bits = self._low_bits
        high = np.arange(first_key >> low_bits, last_key >> low_bits)
        edges = self.directory[(first_key >> low_bits) : (last_key >> low_bits) + 1]
        part = slice(int(edges[0]), int(edges[-1]))
        keys = np.repeat(high.astype(np.uint32), np.diff(edges)) << np.uint32(low_bits)
        return keys | self.lows[part].astype(np.uint32), np.asarray(self.places[part])


def merge_segments(parts: Iterable[tuple[Segment, np.ndarray]], folder: Path) -> None:
    """Write the merger of segments into a folder, without the tracks whose mark in `kept`, bool (tracks,), is False.

    The segments' rows ascend from one to the next.
    """
    parts = [(segment, np.asarray(kept, bool)) for segment, kept in parts]
    moves, start, starts = [], 0, [np.zeros(1, np.int64)]
    for segment, kept in parts:
        lengths = np.where(kept, np.diff(segment.starts), 0)
        ends = start + np.cumsum(lengths)
        moves.append(ends - lengths - segment.starts[:-1])
        starts.append(ends[kept])
        start = int(ends[-1]) if len(ends) else start
    count = sum(_count_kept(segment, kept) for segment, kept in parts)
    low_bits = _low_bits(count)
    folder.mkdir(parents=True)
    for name in ("rows", "track_ids", "hashes", "vectors"):
        np.save(folder / f"{name}.npy", np.concatenate([getattr(segment, name)[kept] for segment, kept in parts]))
    np.save(folder / "starts.npy", np.concatenate(starts))
    with ExitStack() as files:
        items = files.enter_context(_Writer(folder / "items.npy", np.uint32, start))
        lows = files.enter_context(_Writer(folder / "lows.npy", _low_type(low_bits), count))
        places = files.enter_context(_Writer(folder / "places.npy", np.uint32, count))
        steps = (1 << (KEY_BITS - low_bits)) + 1
        directory = files.enter_context(_Writer(folder / "directory.npy", np.int64, steps))
        for segment, kept in parts:
            for track in np.flatnonzero(kept):
                items.write(segment.track_items(track))
        directory.write(np.zeros(1, np.int64))
        reached = 0
        for first_key, last_key in _cut_keys():
            found = [
                _move_places(segment, kept, move, first_key, last_key)
                for (segment, kept), move in zip(parts, moves, strict=True)
            ]
            keys = np.concatenate([keys for keys, _ in found])
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            lows.write((keys & np.uint32((1 << low_bits) - 1)).astype(_low_type(low_bits)))
            places.write(np.concatenate([moved for _, moved in found])[order])
            edges = np.arange(first_key, last_key, 1 << low_bits)[1:]
            inner = np.searchsorted(keys, edges.astype(np.uint32))
            directory.write((reached + np.concatenate([inner, [len(keys)]])).astype(np.int64))
            reached += len(keys)


def hash_items(items: np.ndarray) -> int:
    """64 bits that equal items share."""
    data = np.ascontiguousarray(items, np.uint32).tobytes()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def hash_segment(folder: Path) -> str:
    """SHA-256 over the files of a segment, in hexadecimal."""
    whole = hashlib.sha256()
    for part in fields(Segment):
        with (folder / f"{part.name}.npy").open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


class _Writer:
    """Writes an .npy file of a known length piece by piece."""

    def __init__(self, path: Path, dtype: type, length: int):
        self.file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values).tobytes())


def _low_bits(keys: int) -> int:
    """Bits of a key that the directory leaves out, so that a step of it holds PLACES_A_STEP places or fewer."""
    steps = (keys // PLACES_A_STEP).bit_length()
    return int(np.clip(KEY_BITS - steps, 0, MOST_LOW_BITS))


def _low_type(low_bits: int) -> type:
    return np.uint8 if low_bits <= 8 else np.uint16


def _make_directory(keys: np.ndarray, low_bits: int) -> np.ndarray:
    edges = np.arange(0, (1 << KEY_BITS) + 1, 1 << low_bits, dtype=np.int64)
    return np.searchsorted(keys.astype(np.int64), edges).astype(np.int64)


def _cut_keys() -> Iterator[tuple[int, int]]:
    step = (1 << KEY_BITS) // MERGE_RANGES
    return ((start, start + step) for start in range(0, 1 << KEY_BITS, step))


def _move_places(
    segment: Segment, kept: np.ndarray, move: np.ndarray, first_key: int, last_key: int
) -> tuple[np.ndarray, np.ndarray]:
    keys, places = segment.read_keys(first_key, last_key)
    track = np.searchsorted(segment.starts, places, side="right") - 1
    stays = kept[track]
    return keys[stays], (places[stays] + move[track[stays]]).astype(np.uint32)


def _count_kept(segment: Segment, kept: np.ndarray) -> int:
    if kept.all():
        return len(segment.places)
    return sum(len(_move_places(segment, kept, np.zeros(len(kept)), *cut)[0]) for cut in _cut_keys())


def _search(
    values: np.ndarray, first: np.ndarray, last: np.ndarray, wanted: np.ndarray, goes_on: Callable
) -> np.ndarray:
    """Binary search of many values at once, each in its own part of `values`."""
    low, high = first.copy(), last.copy()
    while True:
        open_ = np.flatnonzero(low < high)
        if not len(open_):
            return low
        middle = (low[open_] + high[open_]) >> 1
        right = goes_on(values[middle], wanted[open_])
        low[open_[right]] = middle[right] + 1
        high[open_[~right]] = middle[~right]


def _pack_ids(track_ids: Sequence[str]) -> np.ndarray:
    data = bytes.fromhex("".join(track_ids).replace("-", ""))
    return np.frombuffer(data, np.uint8).reshape(-1, 16)
