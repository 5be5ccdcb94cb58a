"""Why two tracks are one song or two, and a person's word on it. The evidence is found in catalog/duplicates.py."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import duckdb

from catalog.connection import read_arrow
from catalog.errors import BadQuery, UnknownId
from catalog.lake import Lake
from catalog.matching.beat_chroma import METHOD as CHROMA_METHOD
from catalog.matching.constellation import METHOD as PEAKS_METHOD
from catalog.matching.evidence import DuplicateParams, Match, least_peak_score, share_of_shorter
from catalog.songs import MERGE, SPLIT, judge_match, refresh_song_groups
from catalog.tables import SONG_OVERRIDES


@dataclass(frozen=True)
class JudgedTrack:
    """A track with its song, as `song_groups` has it; without a song where no nightly run has seen it."""

    track_id: str
    title: str | None
    artist: str | None
    duration_s: float | None
    source_song_id: str | None
    relation: str | None
    parent_track_id: str | None
    offset_s: float | None


@dataclass(frozen=True)
class Evidence:
    """What one method found, what it means by itself, and why, in a sentence."""

    match: Match
    relation: str | None
    sentence: str


@dataclass(frozen=True)
class Explanation:
    """Why two tracks are one song or two.

    Attributes:
        same_song: None where one of them has not been grouped yet.
        verdict: In a sentence.
        reasons: What the verdict rests on, in sentences.
        word: A person's word, merge or split; None without one.
        evidence: Every match of the two.
    """

    tracks: tuple[JudgedTrack, JudgedTrack]
    same_song: bool | None
    verdict: str
    reasons: tuple[str, ...]
    word: str | None = None
    evidence: tuple[Evidence, ...] = field(default=())

    def to_dict(self) -> dict:
        """The explanation in the shape of `midime why --json`."""
        return asdict(self)


def explain_pair(
    connection: duckdb.DuckDBPyConnection, track_id: str, other_id: str, params: DuplicateParams = DuplicateParams()
) -> Explanation:
    """Explain what the lake makes of two tracks.

    Raises:
        UnknownId: The lake holds no such track.
        BadQuery: Both are the same track.
    """
    pair = _order(track_id, other_id)
    tracks = _read_tracks(connection, pair)
    word = _read_word(connection, pair)
    evidence = tuple(_weigh(match, params) for match in _read_matches(connection, pair))
    reasons = [word["sentence"]] if word else []
    reasons += [found.sentence for found in evidence] or [
        "No audio was found that both share. Silence and steady tones say nothing."
    ]
    first, second = tracks
    if first.source_song_id is None or second.source_song_id is None:
        verdict = "They have not been compared yet. Run: midime nightly"
        return Explanation(tracks, None, verdict, tuple(reasons), word and word["decision"], evidence)
    same = first.source_song_id == second.source_song_id
    if same and not any(found.relation in ("same", "excerpt", "transformed") for found in evidence):
        reasons += _explain_through_others(connection, tracks)
    verdict = (
        f"They are one song, {first.source_song_id}."
        if same
        else f"They are two songs, {first.source_song_id} and {second.source_song_id}."
    )
    return Explanation(tracks, same, verdict, tuple(reasons), word and word["decision"], evidence)


def decide_pair(
    lake: Lake,
    track_id: str,
    other_id: str,
    decision: str,
    note: str | None = None,
    params: DuplicateParams = DuplicateParams(),
) -> Explanation:
    """Keep a person's word that two tracks are one song (merge) or are not (split), and group them again at once.

    The word stands for every later run, before all evidence, until another word replaces it.

    Raises:
        UnknownId: The lake holds no such track.
        BadQuery: Both are the same track, or another decision.
    """
    if decision not in (MERGE, SPLIT):
        raise BadQuery(f"A pair of tracks is to {MERGE} or to {SPLIT}, not to {decision}.")
    pair = _order(track_id, other_id)
    _read_tracks(lake.connection, pair)
    row = dict(zip(("track_id_1", "track_id_2"), pair, strict=True))
    row |= {"decision": decision, "note": note, "decided_at": datetime.now(UTC)}
    with lake.transaction(f"{decision} songs", row | {"decided_at": row["decided_at"].isoformat()}) as change:
        change.upsert("song_overrides", SONG_OVERRIDES.make_rows([row]))
    refresh_song_groups(lake, None, params)
    return explain_pair(lake.connection, *pair, params)


def withdraw_word(lake: Lake, track_id: str, other_id: str, params: DuplicateParams = DuplicateParams()) -> Explanation:
    """Take a person's word on two tracks back, so that the evidence decides again.

    Raises:
        UnknownId: The lake holds no such track.
        BadQuery: Nothing was said of the two.
    """
    pair = _order(track_id, other_id)
    _read_tracks(lake.connection, pair)
    if _read_word(lake.connection, pair) is None:
        raise BadQuery("Nothing was said of these two tracks.")
    with lake.transaction("withdraw word", {"tracks": pair}):
        lake.connection.execute("DELETE FROM song_overrides WHERE track_id_1 = ? AND track_id_2 = ?", list(pair))
    refresh_song_groups(lake, None, params)
    return explain_pair(lake.connection, *pair, params)


def _order(track_id: str, other_id: str) -> tuple[str, str]:
    if track_id == other_id:
        raise BadQuery("Name two different tracks.")
    return min(track_id, other_id), max(track_id, other_id)


def _read_tracks(connection: duckdb.DuckDBPyConnection, pair: Sequence[str]) -> tuple[JudgedTrack, JudgedTrack]:
    found = read_arrow(
        connection,
        "SELECT tracks.track_id, title, artist, duration_s, source_song_id, relation, parent_track_id, offset_s"
        " FROM tracks LEFT JOIN song_groups USING (track_id) WHERE tracks.track_id IN (SELECT unnest(?::UUID[]))",
        [list(pair)],
    )
    known = {row["track_id"]: JudgedTrack(**row) for row in found.to_pylist()}
    missing = [track for track in pair if track not in known]
    if missing:
        raise UnknownId(f"The lake holds no track {missing[0]}.")
    return known[pair[0]], known[pair[1]]


def _read_matches(connection: duckdb.DuckDBPyConnection, pair: Sequence[str]) -> list[Match]:
    found = read_arrow(
        connection, "FROM matches WHERE track_id_1 = ? AND track_id_2 = ? ORDER BY score DESC, method", list(pair)
    )
    return [Match(**row) for row in found.to_pylist()]


def _read_word(connection: duckdb.DuckDBPyConnection, pair: Sequence[str]) -> dict | None:
    row = connection.execute(
        "SELECT decision, note, decided_at FROM song_overrides WHERE track_id_1 = ? AND track_id_2 = ?", list(pair)
    ).fetchone()
    if row is None:
        return None
    decision, note, decided_at = row
    told = "are one song" if decision == MERGE else "are not one song"
    why = f": {note}" if note else "."
    return {"decision": decision, "sentence": f"A person said on {decided_at:%d %B %Y} that they {told}{why}"}


def _weigh(match: Match, params: DuplicateParams) -> Evidence:
    relation = judge_match(match, params)
    share = 100 * share_of_shorter(match)
    place = f"the second starts {abs(match.offset_s):.1f} s {'into' if match.offset_s >= 0 else 'before'} the first"
    changed = [f"{100 * (match.speed_ratio - 1):+.1f} % speed"] if abs(match.speed_ratio - 1) > 0.001 else []
    changed += [f"{match.pitch_semitones:+.1f} semitones"] if abs(match.pitch_semitones) > 0.05 else []
    scored = f"scores {match.score:.2f}"
    if match.method == PEAKS_METHOD:
        scored = f"finds {100 * match.score:.0f} % of the spectral peaks in both"
    if match.method == CHROMA_METHOD:
        scored = f"hears harmony that moves alike from beat to beat, with {match.score:.2f} of 1,"
    how_much = f"{scored} over {match.overlap_s:.1f} s, {share:.0f} % of the shorter"
    how = f"; {place}{', at ' + ' and '.join(changed) if changed else ''}"
    found = f"{match.method} ({match.method_version}) {how_much}{how}"
    return Evidence(match, relation, f"{found}: {_conclude(match, relation, share, params)}.")


def _conclude(match: Match, relation: str | None, share: float, params: DuplicateParams) -> str:
    if relation is not None:
        return {
            "same": "the same recording",
            "excerpt": "the shorter lies within the longer",
            "transformed": "the same recording, changed",
            "version": "like each other, and another recording",
        }[relation]
    if match.method == PEAKS_METHOD:
        least = least_peak_score(match, params)
        if match.score < least:
            return f"alike, and less than the {100 * least:.0f} % that one recording has"
    elif match.method == CHROMA_METHOD:
        if match.score < params.min_version_chroma:
            return f"alike, and less than the {params.min_version_chroma:.2f} that versions have"
    elif match.score < params.min_score:
        return f"alike, and less than the {params.min_score:.2f} that one recording has"
    if share < 100 * params.min_coverage:
        return f"less than the {100 * params.min_coverage:.0f} % that one song shares"
    return f"the longer lasts over {params.max_song_s / 60:.0f} minutes, and may be a mix of songs"


def _explain_through_others(
    connection: duckdb.DuckDBPyConnection, tracks: tuple[JudgedTrack, JudgedTrack]
) -> list[str]:
    """How each of two tracks comes to their song, where nothing links them directly."""
    sentences = []
    for track in tracks:
        if track.parent_track_id is None:
            sentences.append(f"{track.track_id} is the track that the song is named after, or its middle.")
            continue
        title = connection.execute("SELECT title FROM tracks WHERE track_id = ?", [track.parent_track_id]).fetchone()
        named = f" ({title[0]})" if title and title[0] else ""
        at = f", from {track.offset_s:.1f} s on" if track.offset_s is not None else ""
        sentences.append(f"{track.track_id} is {track.relation} of {track.parent_track_id}{named}{at}.")
    return ["They belong together through others.", *sentences]
