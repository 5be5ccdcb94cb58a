"""Which of the tracks that a run brought in are songs that the lake knew, section by section.

The evidence is found in catalog/duplicates.py. What song each track belongs to is decided later, over all tracks, in
catalog/songs.py; a person's word that two tracks are not one song is heeded here as there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import duckdb

from catalog.connection import read_arrow
from catalog.matching.evidence import DuplicateParams, Match
from catalog.songs import SPLIT, judge_match

STRENGTH = ("same", "transformed", "excerpt")
MATCH_FIELDS = [part.name for part in fields(Match)]
MIN_SHARE = 0.5  # of a section that has to lie in the shared audio


@dataclass(frozen=True)
class KnownSection:
    """A section of a track whose audio another track has as well.

    Attributes:
        song_id: The section.
        section: Its label.
        start_s, end_s: Where it lies in its track.
        at_s: Where its start lies in the other track.
        existing_song_id: The section of the other track that its middle lies in; None where there is none.
    """

    song_id: str
    section: str
    start_s: float
    end_s: float
    at_s: float
    existing_song_id: str | None


@dataclass(frozen=True)
class KnownTrack:
    """A track that is a song which was known before it came.

    Attributes:
        track_id, uri, title: The track, and a place where it was seen.
        source_song_id: The song.
        relation: What it is to `known_track_id`: same, transformed or excerpt.
        known_track_id, known_title: The earlier track.
        score: Strength of the evidence, from 0 to 1.
        overlap_s: Length of the shared audio.
        speed_ratio: Its speed over that of the earlier track.
        known_sections: How many of its sections are known.
        sections: These, the first of them.
    """

    track_id: str
    uri: str | None
    title: str | None
    source_song_id: str
    relation: str
    known_track_id: str
    known_title: str | None
    score: float
    overlap_s: float
    speed_ratio: float
    known_sections: int
    sections: tuple[KnownSection, ...]

    def to_dict(self) -> dict:
        """The track in the shape of `midime ingest --json`."""
        return asdict(self)


def find_known_tracks(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    most_sections: int = 5,
    params: DuplicateParams = DuplicateParams(),
) -> list[KnownTrack]:
    """Find the tracks of a run that share audio with an earlier track, by the matches that the lake holds.

    Args:
        connection: A lake.
        run_id: The run that decoded the tracks.
        most_sections: So many sections of a track are told.
        params: What one song asks for.

    Returns:
        The tracks in the order of their places.
    """
    best: dict[str, tuple[tuple, str, Match]] = {}
    for row in _read_matches(connection, run_id):
        match = Match(**{name: row[name] for name in MATCH_FIELDS})
        relation = judge_match(match, params)
        if relation not in STRENGTH:
            continue
        rank = (STRENGTH.index(relation), -match.overlap_s, row["known_track_id"])
        if row["track_id"] not in best or rank < best[row["track_id"]][0]:
            best[row["track_id"]] = rank, row["known_track_id"], match
    named = _read_tracks(connection, [*best, *(known for _, known, _ in best.values())])
    sections = _read_sections(connection, list(named))
    found = []
    for track, (rank, known, match) in best.items():
        shared = _find_shared(match, track, known, sections.get(track, ()), sections.get(known, ()))
        found.append(
            KnownTrack(
                track_id=track,
                uri=named[track]["uri"],
                title=named[track]["title"],
                source_song_id=named[known]["source_song_id"],
                relation=STRENGTH[rank[0]],
                known_track_id=known,
                known_title=named[known]["title"] or named[known]["uri"],
                score=match.score,
                overlap_s=match.overlap_s,
                speed_ratio=match.place_of(track, known)[1],
                known_sections=len(shared),
                sections=tuple(shared[:most_sections]),
            )
        )
    return sorted(found, key=lambda track: (track.uri or "", track.track_id))


def _find_shared(
    match: Match, track: str, known: str, sections: Sequence[dict], theirs: Sequence[dict]
) -> list[KnownSection]:
    """The sections of a track that lie for the most part in the audio shared with another."""
    offset_s, ratio = match.place_of(track, known)
    length_s = match.sounding_1_s if match.track_id_1 == known else match.sounding_2_s
    first_s, last_s = -offset_s / ratio, (length_s - offset_s) / ratio
    shared = []
    for row in sections:
        start_s, end_s = row["start_s"], row["end_s"]
        if min(end_s, last_s) - max(start_s, first_s) < MIN_SHARE * (end_s - start_s):
            continue
        middle_s = offset_s + ratio * (start_s + end_s) / 2
        existing = next((other for other in theirs if other["start_s"] <= middle_s < other["end_s"]), None)
        shared.append(
            KnownSection(
                song_id=row["section_id"],
                section=row["section_label"],
                start_s=start_s,
                end_s=end_s,
                at_s=round(offset_s + ratio * start_s, 3),
                existing_song_id=existing and existing["section_id"],
            )
        )
    return shared


def _read_matches(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[dict]:
    """The matches of each track of a run with an earlier one, but for those that a person split."""
    sql = """
        WITH own AS (
            SELECT track_id, upload_date FROM tracks
            WHERE track_id IN (SELECT track_id FROM track_stages WHERE run_id = $run AND stage = 'decode')
        ),
        sides AS (
            SELECT track_id_1 AS track_id, track_id_2 AS known_track_id, * FROM matches
            UNION ALL
            SELECT track_id_2, track_id_1, * FROM matches
        )
        SELECT sides.*
        FROM sides
        JOIN own USING (track_id)
        JOIN tracks AS known ON known.track_id = known_track_id
        ANTI JOIN song_overrides AS said
            ON said.track_id_1 = sides.track_id_1 AND said.track_id_2 = sides.track_id_2 AND said.decision = $split
        WHERE (known.upload_date, known.track_id) < (own.upload_date, own.track_id)
    """
    return read_arrow(connection, sql, {"run": run_id, "split": SPLIT}).to_pylist()


def _read_tracks(connection: duckdb.DuckDBPyConnection, tracks: Sequence[str]) -> dict[str, dict]:
    sql = """
        SELECT track_id, title, min(uri) AS uri, coalesce(source_song_id, track_id) AS source_song_id
        FROM tracks LEFT JOIN files USING (track_id) LEFT JOIN song_groups USING (track_id)
        WHERE track_id IN (SELECT unnest(?::UUID[])) GROUP BY track_id, title, source_song_id
    """
    return {row["track_id"]: row for row in read_arrow(connection, sql, [list(tracks)]).to_pylist()}


def _read_sections(connection: duckdb.DuckDBPyConnection, tracks: Sequence[str]) -> dict[str, list[dict]]:
    sql = """
        SELECT track_id, section_id, section_label, start_s, end_s FROM sections
        WHERE track_id IN (SELECT unnest(?::UUID[])) ORDER BY start_s
    """
    found: dict[str, list[dict]] = {}
    for row in read_arrow(connection, sql, [list(tracks)]).to_pylist():
        found.setdefault(row["track_id"], []).append(row)
    return found
