"""Which tracks share audio: the evidence. What song a track belongs to is decided in catalog/songs.py.

An inverted index over the items of the fingerprints proposes pairs and offsets, so that not every pair has to be
compared. Each proposal is then confirmed bit by bit along its alignment, and becomes a row of `matches`. A second
index, of peaks, does the same for copies that are faster, higher or came through a telephone, and a third one finds
other recordings of a song by its harmony (catalog/matching). A track is matched once, with those that came before
it: a track is in the index when its matches are in the lake.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute

from catalog.lake import Lake
from catalog.matching.alignment import CHROMAPRINT, Fingerprint, confirm_offsets, propose_offsets, span_s
from catalog.matching.beat_chroma import BEAT_CHROMA, BeatChroma, lay_over, propose_levels
from catalog.matching.beat_chroma import METHOD as CHROMA_METHOD
from catalog.matching.constellation import METHOD as PEAKS_METHOD
from catalog.matching.constellation import Constellation, confirm_line
from catalog.matching.evidence import DuplicateParams, Match, relate, relate_peaks
from catalog.matching.fingerprint_index import (
    FingerprintIndex,
    Part,
    lock_index,
    open_index,
    open_store,
    read_entries,
    read_rows,
    read_state,
)
from catalog.matching.peak_keys import PEAKS, propose_lines
from catalog.matching.segments import Entry, Segment, hash_items
from catalog.tables import MATCHES

METHOD = "chromaprint"
QUERY = "zzzz"  # stands for a query beside a track's identifier, behind all of them
EQUAL_METHOD = "equal-fingerprints"
VERSION = "chromaprint-aligned-3"


@dataclass(frozen=True)
class KnownSong:
    """A track of the lake that is the same song as a query.

    Attributes:
        track_id: The track.
        source_song_id: Its song.
        relation: What the query is to the track: same, or excerpt where one of the two is part of the other.
        score: Share of equal bits.
        overlap_s: Length of the shared audio.
        offset_s: Where the start of the query lies in the track; negative when it starts before.
    """

    track_id: str
    source_song_id: str
    relation: str
    score: float
    overlap_s: float
    offset_s: float


def find_matches(connection: duckdb.DuckDBPyConnection, params: DuplicateParams = DuplicateParams()) -> list[Match]:
    """Find all pairs of tracks in the lake that share audio, from nothing, in the order of their identifiers."""
    index, matches = FingerprintIndex(), []
    for entries in read_entries(connection, CHROMAPRINT, read_rows(connection, CHROMAPRINT)):
        found, segment = match_entries(index, entries, params)
        matches += found
        index = FingerprintIndex([*index.parts, Part.whole(segment)])
    return _sort(matches)


def match_entries(
    index: FingerprintIndex, entries: Sequence[Entry], params: DuplicateParams = DuplicateParams()
) -> tuple[list[Match], Segment]:
    """Find the pairs of a new track with a track of the index or another new one.

    A track with the items of an earlier one is matched with that one alone, and takes no place in the index.

    Returns:
        The matches, and the segment to be added to the index.
    """
    entries, equal = _find_equal(index, sorted(entries, key=lambda entry: entry.row), params)
    segment = CHROMAPRINT.index(entries)
    joined = FingerprintIndex([*index.parts, Part.whole(segment)])
    matches = []
    for entry, other in equal:
        length_s = _read(entry.items, params).length_s
        evidence = {"method": EQUAL_METHOD, "method_version": VERSION, "score": 1.0, "overlap_s": length_s}
        matches.append(Match.between((other, entry.track_id), (length_s, length_s), offset_s=0.0, **evidence))
    base = int(index.bases[-1])
    proposals = propose_offsets(joined, [entry.items for entry in entries], params)
    for (number, track), offsets in proposals.items():
        if track >= base + number:  # itself, or a later one, which finds this one
            continue
        other, own = _read(joined.track_items(track), params), _read(entries[number].items, params)
        found = confirm_offsets(other, own, offsets, params)
        if found:
            matches.append(
                Match.between(
                    (joined.track_id(track), entries[number].track_id),
                    (other.length_s, own.length_s),
                    method=METHOD,
                    method_version=VERSION,
                    score=found.score,
                    overlap_s=span_s(found.items, own.hop_s),
                    offset_s=found.offset * own.hop_s,
                )
            )
    return _sort(matches), segment


def match_peaks(
    index: FingerprintIndex, entries: Sequence[Entry], params: DuplicateParams = DuplicateParams()
) -> tuple[list[Match], Segment]:
    """Find the pairs that share audio at any speed and pitch; otherwise like `match_entries`.

    Tracks with equal peaks are left to the equal fingerprints that they have as well.
    """
    entries, _ = _find_equal(index, sorted(entries, key=lambda entry: entry.row), params)
    segment = PEAKS.index(entries)
    joined = FingerprintIndex([*index.parts, Part.whole(segment)])
    base, matches = int(index.bases[-1]), []
    for number, entry in enumerate(entries):
        second = Constellation.from_items(entry.items)
        for track, line in propose_lines(joined, entry.items).items():
            if track >= base + number:  # itself, or a later one, which finds this one
                continue
            first = Constellation.from_items(joined.track_items(track))
            overlay = confirm_line(first, second, line)
            if overlay:
                pair = (joined.track_id(track), entry.track_id)
                matches.append(overlay.to_match(pair, first, second))
    return _sort(matches), segment


def match_beat_chroma(
    index: FingerprintIndex, entries: Sequence[Entry], params: DuplicateParams = DuplicateParams()
) -> tuple[list[Match], Segment]:
    """Find the pairs whose harmony moves alike in any key and tempo; otherwise like `match_peaks`."""
    entries, _ = _find_equal(index, sorted(entries, key=lambda entry: entry.row), params)
    segment = BEAT_CHROMA.index(entries)
    joined = FingerprintIndex([*index.parts, Part.whole(segment)])
    heard = [BeatChroma.from_items(entry.items) for entry in entries]
    queries = {number: chroma for number, chroma in enumerate(heard) if chroma.parts}
    earlier = [int(index.bases[-1]) + number for number in queries]
    proposals, matches = propose_levels(joined, list(queries.values()), earlier) if queries else [], []
    for (number, second), proposed in zip(queries.items(), proposals, strict=True):
        for track, level in proposed:
            first, counted = BeatChroma.from_items(joined.track_items(track)), second.count_again(level)
            layover = lay_over(first, counted)
            if layover:
                pair = (joined.track_id(track), entries[number].track_id)
                matches.append(layover.to_match(pair, first, counted))
    return _sort(matches), segment


METHODS = (
    (CHROMAPRINT, match_entries, (METHOD, EQUAL_METHOD)),
    (PEAKS, match_peaks, (PEAKS_METHOD,)),
    (BEAT_CHROMA, match_beat_chroma, (CHROMA_METHOD,)),
)
"""What is indexed, how new tracks are matched by it, and the methods that its evidence names."""


def refresh_matches(lake: Lake, params: DuplicateParams = DuplicateParams()) -> dict[str, int]:
    """Match the tracks that are new since the last time with all, and bring the indexes in line with the lake.

    Returns:
        `matches`: the evidence there is now; `changed`: rows written or removed; `tracks`: new tracks.
    """
    changed, new = 0, set()
    with lock_index(lake.folder):
        for kind, find, methods in METHODS:
            store = open_store(lake.folder, kind)
            state = read_state(lake.connection, kind)
            if store.state == state:
                continue
            rows = read_rows(lake.connection, kind)
            store.forget_rows(np.setdiff1d(store.index.read_rows(), rows))
            changed += _remove_lost(lake)
            fresh = np.setdiff1d(rows, store.index.read_rows())
            for entries in read_entries(lake.connection, kind, fresh):
                matches, segment = find(store.index, entries, params)
                changed += _write(lake, matches, segment, methods)
                new |= {segment.track_id(number) for number in range(segment.tracks)}
                store.add(segment)
                store.publish()
            store.publish(state)
    own = [method for *_, methods in METHODS for method in methods]
    count = lake.query("SELECT count(*) AS n FROM matches WHERE method IN (SELECT unnest(?))", [own])["n"][0].as_py()
    return {"matches": count, "changed": changed, "tracks": len(new)}


def find_duplicates_of(
    connection: duckdb.DuckDBPyConnection,
    items: Sequence[int] | np.ndarray,
    hop_s: float,
    lake: Path | None = None,
    params: DuplicateParams = DuplicateParams(),
) -> list[KnownSong]:
    """Find the tracks of the lake that are the same song as a fingerprint that need not be in the lake.

    Args:
        connection: A lake.
        items: uint32 (n,), the fingerprint over the whole length of the query.
        hop_s: Seconds between items; fingerprints with another hop are not compared.
        lake: The lake's folder, where the index lies; without it, all fingerprints are indexed first.

    Returns:
        The tracks, the longest shared audio first; none for silence, a steady tone or less than about 5 s.
    """
    query = Fingerprint.from_items(items, hop_s, params)
    if abs(hop_s - CHROMAPRINT.hop_s) > 1e-6 or len(np.unique(query.items)) < params.min_distinct_items:
        return []
    return find_known_songs(connection, open_index(connection, lake, CHROMAPRINT), query, params)


def find_changed_of(
    connection: duckdb.DuckDBPyConnection,
    items: np.ndarray,
    lake: Path | None = None,
    params: DuplicateParams = DuplicateParams(),
) -> list[KnownSong]:
    """Find the tracks of the lake that are the same recording as a query, at whatever speed and pitch.

    Args:
        connection: A lake.
        items: uint32 (n,), the peaks of the query.
        lake: The lake's folder, where the index lies; without it, all peaks are indexed first.

    Returns:
        The tracks, the longest shared audio first; none for silence and tones.
    """
    return _name_songs(connection, ask_peaks(open_index(connection, lake, PEAKS), items, params))


def find_known_songs(
    connection: duckdb.DuckDBPyConnection, index: FingerprintIndex, query: Fingerprint, params: DuplicateParams
) -> list[KnownSong]:
    """Find the tracks of an index that is open already; see `find_duplicates_of`."""
    return _name_songs(connection, ask_index(index, query, params))


def ask_index(index: FingerprintIndex, query: Fingerprint, params: DuplicateParams = DuplicateParams()) -> list[tuple]:
    """The tracks of an index that are the same song as a query: track, relation, score, overlap_s, offset_s."""
    found = []
    for (_, track), offsets in propose_offsets(index, [query.items], params).items():
        fingerprint = _read(index.track_items(track), params)
        alignment = confirm_offsets(fingerprint, query, offsets, params)
        if alignment:
            overlap_s = span_s(alignment.items, query.hop_s)
            relation = relate(overlap_s, alignment.score, fingerprint.length_s, query.length_s, params)
            if relation:
                offset_s = alignment.offset * query.hop_s
                found.append((index.track_id(track), relation, alignment.score, overlap_s, offset_s))
    return found


def ask_peaks(index: FingerprintIndex, items: np.ndarray, params: DuplicateParams = DuplicateParams()) -> list[tuple]:
    """The same by peaks, at whatever speed and pitch."""
    second = Constellation.from_items(items)
    found = []
    for track, line in propose_lines(index, items).items():
        first = Constellation.from_items(index.track_items(track))
        overlay = confirm_line(first, second, line)
        if overlay:
            match = overlay.to_match((index.track_id(track), QUERY), first, second)
            relation = relate_peaks(match, params)
            if relation in ("same", "transformed", "excerpt"):
                found.append((match.track_id_1, relation, match.score, match.overlap_s, match.offset_s))
    return found


def _name_songs(connection: duckdb.DuckDBPyConnection, found: Sequence[tuple]) -> list[KnownSong]:
    """The songs of tracks with evidence, the longest shared audio first."""
    songs = _read_songs(connection, [track for track, *_ in found])
    known = [
        KnownSong(track, song, *evidence) for first, *evidence in found for track, song in songs.get(first, {}).items()
    ]
    unique = {song.track_id: song for song in known}
    return sorted(unique.values(), key=lambda song: (-song.overlap_s, -song.score, song.track_id))


def _find_equal(
    index: FingerprintIndex, entries: Sequence[Entry], params: DuplicateParams
) -> tuple[list[Entry], list[tuple[Entry, str]]]:
    """The entries, without the items of those that equal an earlier track; and these, with that track."""
    first: dict[int, Entry] = {}
    kept, equal = [], []
    for entry in entries:
        other = None
        if len(np.unique(entry.items)) >= params.min_distinct_items:
            number = index.find_equal(entry.items)
            same = first.setdefault(hash_items(entry.items), entry)
            if number is not None:
                other = index.track_id(number)
            elif same is not entry and np.array_equal(same.items, entry.items):
                other = same.track_id
        if other:
            equal.append((entry, other))
        kept.append(entry.to_alias() if other else entry)
    return kept, equal


def _remove_lost(lake: Lake) -> int:
    """Remove the evidence about tracks without a fingerprint."""
    lost = "SELECT {0}::VARCHAR FROM matches WHERE {0} NOT IN (SELECT track_id FROM fingerprints)"
    sides = ("track_id_1", "track_id_2")
    if not any(lake.connection.execute(lost.format(side)).fetchall() for side in sides):
        return 0
    with lake.transaction("forget lost matches") as change:
        return sum(change.delete("matches", side, change.values(lost.format(side), [])) for side in sides)


def _write(lake: Lake, matches: Sequence[Match], segment: Segment, methods: Sequence[str]) -> int:
    """Write the matches of the new tracks where they differ from those in the lake; how many differ."""
    rows = MATCHES.make_rows([asdict(match) for match in matches])
    new = [segment.track_id(number) for number in range(segment.tracks)]
    touched = "(track_id_1 IN (SELECT unnest($new::UUID[])) OR track_id_2 IN (SELECT unnest($new::UUID[])))"
    standing = lake.query(f"FROM matches WHERE {touched}", {"new": new}).select(MATCHES.columns)
    is_own = pa.compute.is_in(standing["method"], pa.array(methods))
    changed = len(_as_set(standing.filter(is_own)) ^ _as_set(rows))
    if changed:
        with lake.transaction("find duplicates", {"matches": len(rows), "changed": changed}) as change:
            for side in ("track_id_1", "track_id_2"):
                change.delete("matches", side, new)
            change.insert("matches", standing.filter(pa.compute.invert(is_own)))  # evidence of other methods
            change.insert("matches", rows)
    return changed


def _read_songs(connection: duckdb.DuckDBPyConnection, tracks: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each of these tracks the tracks with the same fingerprint, itself among them, and their songs.

    Before the first grouping a track is its own song.
    """
    rows = connection.execute(
        """
        WITH alike AS (
            SELECT track_id AS first, track_id FROM tracks WHERE track_id IN (SELECT unnest($tracks::UUID[]))
            UNION
            SELECT track_id_1, track_id_2 FROM matches
            WHERE method = $equal AND track_id_1 IN (SELECT unnest($tracks::UUID[]))
            UNION
            SELECT track_id_2, track_id_1 FROM matches
            WHERE method = $equal AND track_id_2 IN (SELECT unnest($tracks::UUID[]))
        )
        SELECT first::VARCHAR, track_id::VARCHAR, coalesce(source_song_id, track_id)::VARCHAR
        FROM alike LEFT JOIN song_groups USING (track_id)
        """,
        {"tracks": list(tracks), "equal": EQUAL_METHOD},
    ).fetchall()
    songs: dict[str, dict[str, str]] = {}
    for first, track, song in rows:
        songs.setdefault(first, {})[track] = song
    return songs


def _read(items: np.ndarray, params: DuplicateParams) -> Fingerprint:
    return Fingerprint.from_items(items, CHROMAPRINT.hop_s, params)


def _sort(matches: Sequence[Match]) -> list[Match]:
    return sorted(matches, key=lambda match: (match.track_id_1, match.track_id_2, match.method))


def _as_set(rows: pa.Table) -> set[tuple]:
    return set(zip(*(column.to_pylist() for column in rows.columns), strict=True))
