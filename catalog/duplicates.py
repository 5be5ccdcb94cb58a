"""Which tracks share audio: the evidence. What song a track belongs to is decided in catalog/songs.py.

An inverted index over the items of the fingerprints proposes pairs and offsets, so that not every pair has to be
compared. Each proposal is then confirmed bit by bit along its alignment, and becomes a row of `matches`.

Reference:
    Haitsma & Kalker, "A highly robust audio fingerprinting system", ISMIR 2002: proposals from equal items, confirmed
    where less than 35 % of the bits differ.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import duckdb
import numpy as np
import pyarrow as pa

from catalog.lake import Lake, read_arrow
from catalog.tables import MATCHES

METHOD = "chromaprint"
EQUAL_METHOD = "equal-fingerprints"
VERSION = "chromaprint-aligned-1"
ITEM_BITS = 32
ITEM_SPAN_S = 2.6  # audio that one Chromaprint item is made from


@dataclass(frozen=True)
class DuplicateParams:
    """How alike two fingerprints have to be.

    Attributes:
        ignored_bits: Low bits of an item that the proposer does not look at.
        common_tracks: An item in more tracks than this proposes nothing: it is a chord or a tone that all music has.
        min_votes: Equal items at one offset that make a proposal.
        offsets_per_pair: Proposals that are confirmed for a pair, those with the most votes first.
        static_items: Equal items in a row that make silence or a steady tone, which say nothing.
        min_distinct_items: With fewer different items, equal fingerprints and queries say nothing.
        max_bit_error: Share of unequal bits below which an item speaks for equal audio.
        min_evidence_bits: Equal bits beyond that share, summed over the shared stretch, that confirm it. Unrelated
            music reaches 140; five seconds in a lossy copy give 160 or more.
        min_score: Share of equal bits over the shared stretch that one song asks for. Copies reach 0.93; the same song
            without its voice or with other instruments stays below 0.8, which is evidence, but not one recording.
        min_coverage: Share of the shorter track that has to be shared for both to be one song.
        max_song_s: A longer track may be a mix of songs: nothing becomes an excerpt of it.
    """

    ignored_bits: int = 8
    common_tracks: int = 100
    min_votes: int = 3
    offsets_per_pair: int = 3
    static_items: int = 8
    min_distinct_items: int = 12
    max_bit_error: float = 0.35
    min_evidence_bits: float = 150.0
    min_score: float = 0.85
    min_coverage: float = 0.7
    max_song_s: float = 900.0


@dataclass(frozen=True)
class Match:
    """Evidence that two tracks share audio; the fields are the columns of `matches`."""

    track_id_1: str
    track_id_2: str
    method: str
    method_version: str
    score: float
    overlap_s: float
    offset_s: float
    speed_ratio: float = 1.0


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
        return _span_s(int(places[-1] - places[0]) + 1, self.hop_s) if len(places) else 0.0


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


def find_matches(connection: duckdb.DuckDBPyConnection, params: DuplicateParams = DuplicateParams()) -> list[Match]:
    """Find all pairs of tracks in the lake that share audio, in the order of their identifiers.

    Tracks with equal fingerprints are matched with the first of them alone, and only that one is compared further.
    """
    equal = {track: first for track, first in _find_equal_fingerprints(connection, params) if track != first}
    proposals = _propose(connection, params, excluded=list(equal))
    tracks = {*equal, *(track for pair in proposals for track in pair)}
    fingerprints = read_fingerprints(connection, tracks, params)

    matches = [
        Match(first, track, EQUAL_METHOD, VERSION, 1.0, fingerprints[track].length_s, 0.0)
        for track, first in equal.items()
    ]
    for (track_1, track_2), offsets in proposals.items():
        found = _confirm(fingerprints[track_1], fingerprints[track_2], offsets, params)
        if found:
            hop_s = fingerprints[track_1].hop_s
            overlap_s, offset_s = _span_s(found.items, hop_s), found.offset * hop_s
            matches.append(Match(track_1, track_2, METHOD, VERSION, found.score, overlap_s, offset_s))
    return sorted(matches, key=lambda match: (match.track_id_1, match.track_id_2, match.method))


def find_duplicates_of(
    connection: duckdb.DuckDBPyConnection,
    items: Sequence[int] | np.ndarray,
    hop_s: float,
    params: DuplicateParams = DuplicateParams(),
) -> list[KnownSong]:
    """Find the tracks of the lake that are the same song as a fingerprint that need not be in the lake.

    Args:
        connection: A lake.
        items: uint32 (n,), the fingerprint over the whole length of the query.
        hop_s: Seconds between items; fingerprints with another hop are not compared.

    Returns:
        The tracks, the longest shared audio first; none for silence, a steady tone or less than about 5 s.
    """
    query = Fingerprint.from_items(items, hop_s, params)
    if len(np.unique(query.items)) < params.min_distinct_items:
        return []
    proposals = _propose(connection, params, query=query)
    fingerprints = read_fingerprints(connection, {track for track, _ in proposals}, params)
    songs = _read_songs(connection, list(fingerprints))
    known = []
    for (track, _), offsets in proposals.items():
        found = _confirm(fingerprints[track], query, offsets, params)
        if not found:
            continue
        overlap_s = _span_s(found.items, hop_s)
        relation = relate(overlap_s, found.score, fingerprints[track].length_s, query.length_s, params)
        if relation:
            known.append(KnownSong(track, songs[track], relation, found.score, overlap_s, found.offset * hop_s))
    return sorted(known, key=lambda song: (-song.overlap_s, -song.score, song.track_id))


def refresh_matches(lake: Lake, params: DuplicateParams = DuplicateParams()) -> dict[str, int]:
    """Bring `matches` in line with the fingerprints; nothing is written when nothing changed.

    Returns:
        `matches`: the evidence there is now; `changed`: rows written or removed.
    """
    rows = MATCHES.make_rows([asdict(match) for match in find_matches(lake.connection, params)])
    own = [METHOD, EQUAL_METHOD]
    before = lake.query("FROM matches WHERE method IN (SELECT unnest(?))", [own]).select(MATCHES.columns)
    changed = len(_as_set(before) ^ _as_set(rows))
    if changed:
        with lake.transaction("find duplicates", {"matches": len(rows), "changed": changed}) as change:
            change.delete("matches", "method", own)
            change.insert("matches", rows)
            for column in ("track_id_1", "track_id_2"):  # of tracks purged since they were read
                gone = f"SELECT {column}::VARCHAR FROM matches WHERE {column} NOT IN (SELECT track_id FROM tracks)"
                change.delete("matches", column, change.values(gone, []))
    return {"matches": len(rows), "changed": changed}


def find_changing_items(items: np.ndarray, static_items: int = DuplicateParams.static_items) -> np.ndarray:
    """Mark the items outside silence and steady tones, bool (n,): runs of one item are in any other track as well."""
    if not len(items):
        return np.zeros(0, bool)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(items)) + 1, [len(items)]])
    lengths = np.diff(edges)
    return np.repeat(lengths < static_items, lengths)


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


def read_fingerprints(
    connection: duckdb.DuckDBPyConnection, tracks: Iterable[str], params: DuplicateParams
) -> dict[str, Fingerprint]:
    """The fingerprints of these tracks."""
    table = read_arrow(
        connection,
        "SELECT track_id, items, hop_s FROM fingerprints WHERE track_id IN (SELECT unnest(?::UUID[]))",
        [sorted(set(tracks) - {QUERY_TRACK})],
    )
    return {
        track.as_py(): Fingerprint.from_items(items.values.to_numpy(), hop_s.as_py(), params)
        for track, items, hop_s in zip(*(table[name] for name in ("track_id", "items", "hop_s")), strict=True)
    }


def relate(overlap_s: float, score: float, length_1_s: float, length_2_s: float, params: DuplicateParams) -> str | None:
    """same, excerpt or None: how two tracks are one song by what they share."""
    shorter_s, longer_s = sorted((length_1_s, length_2_s))
    if score < params.min_score or overlap_s < params.min_coverage * shorter_s:
        return None
    if overlap_s >= params.min_coverage * longer_s:
        return "same"
    return "excerpt" if longer_s <= params.max_song_s else None


def _find_equal_fingerprints(connection: duckdb.DuckDBPyConnection, params: DuplicateParams) -> list[tuple[str, str]]:
    """Each track whose fingerprint equals that of another, with the first track that has it."""
    return connection.execute(
        """
        WITH equal AS (
            SELECT track_id, min(track_id) OVER same AS first_track_id, items
            FROM fingerprints
            WINDOW same AS (PARTITION BY algorithm, hop_s, items)
            QUALIFY count(*) OVER same > 1
        )
        SELECT track_id::VARCHAR, first_track_id::VARCHAR
        FROM equal
        WHERE list_unique(items) >= ?
        ORDER BY ALL
        """,
        [params.min_distinct_items],
    ).fetchall()


def _propose(
    connection: duckdb.DuckDBPyConnection,
    params: DuplicateParams,
    excluded: Sequence[str] = (),
    query: Fingerprint | None = None,
) -> dict[tuple[str, str], list[int]]:
    """Pairs of tracks that have items in common at one offset, with the offsets that have the most votes.

    With a query, only pairs of a track and the query, named QUERY_TRACK.
    """
    sources, condition = LAKE_ITEMS, ""
    arguments = {
        "ignored_bits": params.ignored_bits,
        "common_tracks": params.common_tracks,
        "min_votes": params.min_votes,
        "offsets_per_pair": params.offsets_per_pair,
        "excluded": list(excluded),
    }
    if query is not None:
        sources += " UNION ALL SELECT $query_track, $query_hop_s, NULL, $query_items::UINTEGER[]"
        condition = "AND item IN (SELECT unnest($wanted::UINTEGER[]))"
        arguments |= {
            "query_track": QUERY_TRACK,
            "query_hop_s": query.hop_s,
            "query_items": query.items.tolist(),
            "wanted": np.unique(query.items >> np.uint32(params.ignored_bits)).tolist(),
        }
    proposals: dict[tuple[str, str], list[int]] = {}
    sql = PROPOSE.format(sources=sources, condition=condition)
    for track_1, track_2, offset in connection.execute(sql, arguments).fetchall():
        if query is None or track_2 == QUERY_TRACK:
            proposals.setdefault((track_1, track_2), []).append(offset)
    return proposals


def _confirm(
    fingerprint_1: Fingerprint, fingerprint_2: Fingerprint, offsets: Sequence[int], params: DuplicateParams
) -> Alignment | None:
    """The best alignment near the proposed offsets; None where it proves nothing."""

    def align(offset: int) -> Alignment:
        return align_fingerprints(fingerprint_1, fingerprint_2, offset, params)

    best = max(map(align, offsets), key=lambda found: found.evidence_bits)
    best = max(align(best.offset - 1), best, align(best.offset + 1), key=lambda found: found.evidence_bits)
    return best if best.evidence_bits >= params.min_evidence_bits else None


def _read_songs(connection: duckdb.DuckDBPyConnection, tracks: Sequence[str]) -> dict[str, str]:
    """The song of each of these tracks: the track itself before the first grouping."""
    return dict(
        connection.execute(
            """
            SELECT tracks.track_id::VARCHAR, coalesce(song_groups.source_song_id, tracks.track_id)::VARCHAR
            FROM tracks LEFT JOIN song_groups USING (track_id)
            WHERE track_id IN (SELECT unnest(?::UUID[]))
            """,
            [list(tracks)],
        ).fetchall()
    )


def _as_set(rows: pa.Table) -> set[tuple]:
    return set(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def _span_s(items: int, hop_s: float) -> float:
    """Length of the audio behind so many consecutive items."""
    return (items - 1) * hop_s + ITEM_SPAN_S if items else 0.0


QUERY_TRACK = "~query"  # sorts after every identifier
LAKE_ITEMS = "SELECT track_id::VARCHAR AS track_id, hop_s, algorithm, items FROM fingerprints"
PROPOSE = """
WITH sources AS ({sources}),
places AS (
    SELECT
        track_id,
        hop_s,
        algorithm,
        unnest(items) >> $ignored_bits AS item,
        unnest(list_prepend(NULL, items)) >> $ignored_bits AS previous_item,
        generate_subscripts(items, 1) AS place
    FROM sources
    WHERE track_id NOT IN (SELECT unnest($excluded::VARCHAR[]))
),
changing AS (
    SELECT track_id, hop_s, algorithm, item, place
    FROM places
    WHERE item IS NOT NULL AND item IS DISTINCT FROM previous_item {condition}
),
shared AS (
    SELECT item FROM changing GROUP BY item HAVING count(DISTINCT track_id) BETWEEN 2 AND $common_tracks
),
telling AS MATERIALIZED (FROM changing SEMI JOIN shared USING (item)),
votes AS (
    SELECT first.track_id AS track_1, second.track_id AS track_2, first.place - second.place AS offset_items,
        count(*) AS votes
    FROM telling AS first
    JOIN telling AS second
        ON first.item = second.item
        AND first.hop_s = second.hop_s
        AND coalesce(second.algorithm, first.algorithm) = first.algorithm
        AND first.track_id < second.track_id
    GROUP BY ALL
    HAVING count(*) >= $min_votes
)
SELECT track_1, track_2, offset_items
FROM votes
QUALIFY row_number() OVER (PARTITION BY track_1, track_2 ORDER BY votes DESC, offset_items) <= $offsets_per_pair
ORDER BY ALL
"""
