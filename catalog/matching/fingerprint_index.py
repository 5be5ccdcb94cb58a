"""The inverted index over the fingerprints of a lake: which tracks have items in common with a fingerprint, and where.

    postings/KIND/manifest.json    the segments that make the index, with their hashes
    postings/KIND/SEGMENT/         see segments.py

Every batch of new tracks becomes a segment, and segments of like size are merged, so that a batch costs what it holds.
What the index holds is told by the rows of the lake's table (`rowid`, which changes when a fingerprint does): a reader
leaves out what its snapshot does not hold, and adds what the index does not hold yet. A lost or broken index is made
again from the lake.
"""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np

from catalog.matching.segments import (
    Entry,
    KeyMaker,
    Segment,
    VectorMaker,
    hash_items,
    hash_segment,
    make_no_vector,
    merge_segments,
)

FOLDER = "postings"
MERGE_AT = 4  # so many segments of one size are merged into one
READ_TRACKS = 2_000  # fingerprints read at once


@dataclass(frozen=True)
class Kind:
    """What an index is made of.

    Attributes:
        name: The folder's name; it changes when the keys do, so that an index with other keys is not taken for it.
        algorithm: The fingerprints of the lake that are indexed.
        hop_s: Seconds between their items; fingerprints with another hop are not comparable and left out.
        make_keys: From items to keys.
        make_vector: From items to the vector whose nearest neighbours are sought, where there are no keys.
    """

    name: str
    algorithm: str
    hop_s: float
    make_keys: KeyMaker
    make_vector: VectorMaker = make_no_vector

    def index(self, entries: Sequence[Entry]) -> Segment:
        """The segment of some tracks."""
        return Segment.build(entries, self.make_keys, self.make_vector)


@dataclass(frozen=True)
class Hits:
    """Places in the index that have the keys asked for.

    Attributes:
        key: int64 (n,), which of the keys.
        track: int64 (n,), the track's number in the index.
        place: int64 (n,), the place in the track's items.
    """

    key: np.ndarray
    track: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Part:
    """A segment and its tracks that count, bool (tracks,)."""

    segment: Segment
    alive: np.ndarray

    @classmethod
    def whole(cls, segment: Segment) -> "Part":
        return cls(segment, np.ones(segment.tracks, bool))


class FingerprintIndex:
    """Parts searched as one. Tracks are numbered through all parts."""

    def __init__(self, parts: Sequence[Part] = ()):
        self.parts = list(parts)
        self.bases = np.concatenate([[0], np.cumsum([part.segment.tracks for part in self.parts], dtype=np.int64)])

    def look_up(self, keys: np.ndarray, most: int, stretches: np.ndarray, most_on_average: float) -> Hits:
        """The places with some keys, but not of those that are common.

        Args:
            keys: uint32 (n,).
            most: Keys in more places are left out.
            stretches: int64 (n,), which part of a query each key is of.
            most_on_average: So many places for each key of a stretch are met, those of its rarest keys, so that what a
                query costs does not grow with the index.
        """
        # In the order of the keys, neighbours in the files are read together.
        numbered = np.sort((keys.astype(np.uint64) << np.uint64(32)) | np.arange(len(keys), dtype=np.uint64))
        order = (numbered & np.uint64(0xFFFF_FFFF)).astype(np.int64)
        found = [part.segment.find(keys[order]) for part in self.parts]
        counts = [last - first for first, last in found]
        rare = _find_rare(sum(counts, np.zeros(len(keys), np.int64)), most, stretches[order], most_on_average)
        hits = [
            _read_places(part, base, first, np.where(rare, count, 0))
            for part, base, (first, _), count in zip(self.parts, self.bases, found, counts, strict=False)
        ]
        empty = np.zeros(0, np.int64)
        key, track, place = (np.concatenate([empty, *(part[field] for part in hits)]) for field in range(3))
        return Hits(order[key], track, place)

    def find_equal(self, items: np.ndarray) -> int | None:
        """The number of the track that has just these items; None without one."""
        wanted = np.uint64(hash_items(items))
        for part, base in zip(self.parts, self.bases, strict=False):
            for track in np.flatnonzero((part.segment.hashes == wanted) & part.alive):
                if np.array_equal(part.segment.track_items(track), items):
                    return int(base + track)
        return None

    def track_id(self, number: int) -> str:
        part, track = self._locate(number)
        return part.segment.track_id(track)

    def track_items(self, number: int) -> np.ndarray:
        """uint32 (n,)"""
        part, track = self._locate(number)
        return part.segment.track_items(track)

    def read_items(self, tracks: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The item at each place of each track, uint32 (n,)."""
        items = np.zeros(len(tracks), np.uint32)
        for part, base in zip(self.parts, self.bases, strict=False):
            own = np.flatnonzero((tracks >= base) & (tracks < base + part.segment.tracks))
            items[own] = part.segment.items[part.segment.starts[tracks[own] - base] + places[own]]
        return items

    def read_rows(self) -> np.ndarray:
        """The rows of the lake that count, int64 (n,)."""
        return np.concatenate([np.zeros(0, np.int64), *(part.segment.rows[part.alive] for part in self.parts)])

    def keep_rows(self, rows: np.ndarray) -> "FingerprintIndex":
        """The same index without the tracks whose row is not one of these."""
        return FingerprintIndex(
            [replace(part, alive=part.alive & np.isin(part.segment.rows, rows)) for part in self.parts]
        )

    def _locate(self, number: int) -> tuple[Part, int]:
        place = int(np.searchsorted(self.bases, number, side="right")) - 1
        return self.parts[place], number - int(self.bases[place])


class IndexStore:
    """The index in its folder. Changes are published together, by `publish`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: list[str] = []
        self.parts: list[Part] = []
        self._hashes: dict[str, str] = {}
        self.state: list | None = None
        self._read()

    @property
    def index(self) -> FingerprintIndex:
        return FingerprintIndex(self.parts)

    def add(self, segment: Segment) -> None:
        """Write a segment, and merge those that are alike in size."""
        self._save(segment.save)
        self.parts.append(Part.whole(Segment.open(self.folder / self.names[-1])))
        while len(self.parts) >= MERGE_AT:
            sizes = [max(1, part.segment.items.size + part.segment.places.size) for part in self.parts[-MERGE_AT:]]
            if max(sizes) > MERGE_AT * sizes[-1]:
                break
            self._merge(len(self.parts) - MERGE_AT)

    def forget_rows(self, gone: np.ndarray) -> None:
        """Forget these rows, and the tracks whose items lie under one of them.

        Their items stay in the files until the next merge.
        """
        hashes = [np.zeros(0, np.uint64)]
        hashes += [part.segment.hashes[part.alive & np.isin(part.segment.rows, gone)] for part in self.parts]
        orphaned = np.concatenate(hashes)
        for place, part in enumerate(self.parts):
            segment = part.segment
            points = (np.diff(segment.starts) == 0) & np.isin(segment.hashes, orphaned)
            self.parts[place] = replace(part, alive=part.alive & ~points & ~np.isin(segment.rows, gone))

    def erase_tracks(self, track_ids: Sequence[str]) -> None:
        """Rewrite every segment that holds one of these tracks without them."""
        wanted = {uuid.UUID(track).bytes for track in track_ids}
        held = [np.array([bytes(track) in wanted for track in part.segment.track_ids], bool) for part in self.parts]
        self.forget_rows(
            np.concatenate([part.segment.rows[found] for part, found in zip(self.parts, held, strict=True)] or [[]])
        )
        for place, found in enumerate(held):
            if found.any():
                self._merge(place, place + 1)

    def publish(self, state: list | None = None) -> None:
        """Make the segments of now the index, and remove the others.

        Args:
            state: What tells that the lake's fingerprints are just those of the index (see `read_state`).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = state
        segments = [
            {
                "name": name,
                "sha256": self._hashes.setdefault(name, hash_segment(self.folder / name)),
                "dead": part.segment.rows[~part.alive].tolist(),
            }
            for name, part in zip(self.names, self.parts, strict=True)
        ]
        text = json.dumps({"segments": segments, "state": state})
        draft = self.folder / "manifest.json.draft"
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, self.folder / "manifest.json")
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in self.names:
                shutil.rmtree(path)

    def verify(self) -> list[str]:
        """Check every segment against its recorded hash; a sentence for each problem."""
        return [
            f"{FOLDER}/{self.folder.name}/{name} has changed since it was written. Remove the folder {FOLDER} and "
            "run: midime nightly"
            for name in self.names
            if hash_segment(self.folder / name) != self._hashes[name]
        ]

    def _read(self) -> None:
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
            for record in manifest["segments"]:
                segment = Segment.open(self.folder / record["name"])
                self.names.append(record["name"])
                self._hashes[record["name"]] = record["sha256"]
                self.parts.append(Part(segment, ~np.isin(segment.rows, np.array(record["dead"], np.int64))))
            self.state = manifest["state"]
        except FileNotFoundError:
            self.names, self.parts, self.state = [], [], None
        except (OSError, ValueError, KeyError):  # broken: made again from the lake
            self.names, self.parts, self.state = [], [], None

    def _merge(self, first: int, last: int | None = None) -> None:
        """Replace these segments by one."""
        merged = self.parts[first:last]
        after = self.names[last:] if last else []
        later = self.parts[last:] if last else []
        self.names, self.parts = self.names[:first], self.parts[:first]
        self._save(lambda folder: merge_segments([(part.segment, part.alive) for part in merged], folder))
        self.parts.append(Part.whole(Segment.open(self.folder / self.names[-1])))
        self.names += after
        self.parts += later

    def _save(self, write) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex[:16]
        write(self.folder / name)
        self.names.append(name)


@contextmanager
def lock_index(lake: Path) -> Iterator[None]:
    """Hold the lock of those who change the index."""
    (lake / FOLDER).mkdir(parents=True, exist_ok=True)
    with (lake / FOLDER / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_store(lake: Path, kind: Kind) -> IndexStore:
    """The files of an index in the lake's folder."""
    return IndexStore(lake / FOLDER / kind.name)


def open_stores(lake: Path) -> list[IndexStore]:
    """The files of every index in the lake's folder."""
    return [IndexStore(path.parent) for path in sorted((lake / FOLDER).glob("*/manifest.json"))]


def erase_tracks(lake: Path, track_ids: Sequence[str]) -> None:
    """Take the items of these tracks out of every index."""
    with lock_index(lake):
        for store in open_stores(lake):
            store.erase_tracks(track_ids)
            store.publish()


def open_index(connection: duckdb.DuckDBPyConnection, lake: Path | None, kind: Kind) -> FingerprintIndex:
    """The index over just the fingerprints that the connection sees; what no segment holds is indexed in memory.

    Args:
        connection: A lake.
        lake: The lake's folder; None when there is no index in files.
        kind: What the index is made of.
    """
    store = open_store(lake, kind) if lake else None
    index = store.index if store else FingerprintIndex()
    if store and store.state is not None and store.state == read_state(connection, kind):
        return index
    rows = read_rows(connection, kind)
    missing = np.setdiff1d(rows, index.read_rows())
    index = index.keep_rows(rows)
    for entries in read_entries(connection, kind, missing):
        index = FingerprintIndex([*index.parts, Part.whole(kind.index(entries))])
    return index


def read_state(connection: duckdb.DuckDBPyConnection, kind: Kind) -> list:
    """What tells one set of fingerprints from another: their number, and a hash over their rows."""
    sql = f"SELECT count(*), bit_xor(hash(rowid))::VARCHAR FROM fingerprints WHERE {COMPARABLE}"
    return list(connection.execute(sql, [kind.algorithm, kind.hop_s]).fetchone())


def read_rows(connection: duckdb.DuckDBPyConnection, kind: Kind) -> np.ndarray:
    """The rows of the fingerprints that can be indexed, int64 (n,), ascending."""
    sql = f"SELECT rowid FROM fingerprints WHERE {COMPARABLE}"
    return np.sort(connection.execute(sql, [kind.algorithm, kind.hop_s]).fetchnumpy()["rowid"].astype(np.int64))


def read_entries(connection: duckdb.DuckDBPyConnection, kind: Kind, rows: np.ndarray) -> Iterator[list[Entry]]:
    """The fingerprints of these rows, in their order, in batches."""
    for start in range(0, len(rows), READ_TRACKS):
        batch = rows[start : start + READ_TRACKS]
        table = connection.execute(
            "SELECT rowid AS row, track_id::VARCHAR AS track_id, items FROM fingerprints"
            " WHERE rowid BETWEEN ? AND ? AND rowid IN (SELECT unnest(?::BIGINT[])) ORDER BY 1",
            [int(batch[0]), int(batch[-1]), batch.tolist()],
        ).to_arrow_table()
        yield [
            Entry.of(row.as_py(), track.as_py(), items.values.to_numpy(zero_copy_only=False).astype(np.uint32))
            for row, track, items in zip(table["row"], table["track_id"], table["items"], strict=True)
        ]


COMPARABLE = "algorithm = ? AND abs(hop_s - ?) < 1e-6 AND items IS NOT NULL"


def _find_rare(counts: np.ndarray, most: int, stretches: np.ndarray, most_on_average: float) -> np.ndarray:
    """The keys that are looked up, bool (n,): in each stretch the rarest, until they fill what is allowed."""
    order = np.lexsort([counts, stretches])
    sums = np.cumsum(counts[order])
    first = np.flatnonzero(np.diff(stretches[order], prepend=stretches.min(initial=0) - 1))
    lengths = np.diff(np.append(first, len(order)))
    before = sums[first] - counts[order][first]
    fits = sums - np.repeat(before, lengths) <= np.repeat(most_on_average * lengths, lengths)
    rare = np.zeros(len(counts), bool)
    rare[order] = fits
    return rare & (counts <= most)


def _read_places(part: Part, base: int, first: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Key, track and place of each posting; those of tracks that do not count are left out."""
    total = int(counts.sum())
    key = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    place = part.segment.places[np.repeat(first, counts) + within].astype(np.int64)
    track = np.searchsorted(part.segment.starts, place, side="right") - 1
    place -= part.segment.starts[track]
    if not part.alive.all():
        stays = part.alive[track]
        key, track, place = key[stays], track[stays], place[stays]
    return key, track + base, place
