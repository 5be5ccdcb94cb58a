"""Patterns like a given one, grouped by their songs. Indexes are built in catalog/index.py.

Three regimes give one answer: comparing with every pattern that passes the filters, in DuckDB, while they are few;
beyond, the neighbours that nightly has computed, or candidates from the index. The scores of those are then computed in
DuckDB all the same.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np

from catalog.errors import BadQuery, MissingIndex, UnknownId
from catalog.index import DIMENSIONS, GrooveIndex, find_index, is_fresh, open_index, shift_beats

EXACT_BELOW = 10_000
SPARE = 4  # results that an index gives beyond those that are wanted: equals are put in order afterwards
PARTS = {
    "drums": {"kick": slice(0, 32), "snare": slice(32, 64), "hihat": slice(64, 96)},
    "bass": {"rhythm": slice(0, 32), "pitch": slice(32, 96)},
}
"""What the numbers of an instrument's vectors are about."""


@dataclass(frozen=True)
class SimilarSection:
    """A section whose pattern is like the one asked for; song_id is the section, as in the view `songs`.

    Attributes:
        similarity_score: Cosine of the two vectors, where one is shifted by `shift_beats`.
        shift_beats: Beats by which the pattern's bars begin later than those of the one asked for, 0 to 7.
        why: The part of each drum in the score, or of a bass's rhythm and pitch; the parts add up to it.
    """

    song_id: str
    section: str | None
    similarity_score: float
    shift_beats: int
    why: dict[str, float]
    pattern_id: str
    track_id: str
    tempo: float | None
    key: str | None
    genre: str | None
    time_signature: str | None
    title: str | None
    artist: str | None
    corpus: str
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class SimilarSong:
    """A song with its similar sections, the best first."""

    source_song_id: str
    sections: tuple[SimilarSection, ...]


@dataclass(frozen=True)
class SearchResult:
    """The answer to a search.

    Attributes:
        query_info: What was asked, and how it was answered: the regime (exact, precomputed or index), how many patterns
            passed the filters (not counted for precomputed answers), and the index with whether it is fresh.
        results: The songs, the best first.
    """

    query_info: dict
    results: tuple[SimilarSong, ...] = field(default=())

    @property
    def total_matches(self) -> int:
        """Sections in the answer."""
        return sum(len(song.sections) for song in self.results)

    def to_dict(self) -> dict:
        """The answer in the shape of `midime search --json`."""
        return {
            "total_matches": self.total_matches,
            "query_info": self.query_info,
            "results": [asdict(song) for song in self.results],
        }

    def to_frame(self):
        """One row a section as a pandas DataFrame, the best first."""
        import pandas as pd

        rows = [
            {"source_song_id": song.source_song_id} | asdict(section)
            for song in self.results
            for section in song.sections
        ]
        columns = ["source_song_id", *SimilarSection.__dataclass_fields__]
        frame = pd.DataFrame(rows, columns=columns)
        return frame.sort_values(["similarity_score", "pattern_id"], ascending=[False, True], ignore_index=True)


@dataclass(frozen=True)
class Filters:
    """What a pattern has to be like apart from its rhythm; None asks for nothing.

    Attributes:
        tempo: Lowest and highest tempo in bpm.
        genres: Any of these, in any case.
        key: Such as "C minor", in any case.
        time_signature: Such as "4/4".
        corpus: Name of the corpus.
        user_id: Who asks: sees their own private tracks beside the public ones.
    """

    tempo: tuple[float, float] | None = None
    genres: Sequence[str] | None = None
    key: str | None = None
    time_signature: str | None = None
    corpus: str | None = None
    user_id: str | None = None


def search_patterns(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    pattern_id: str | None = None,
    vector: Sequence[float] | None = None,
    instrument: str = "drums",
    min_similarity: float = 0.7,
    limit: int = 20,
    tempo: tuple[float, float] | None = None,
    genres: Sequence[str] | None = None,
    key: str | None = None,
    time_signature: str | None = None,
    corpus: str | None = None,
    user_id: str | None = None,
    exact_below: int = EXACT_BELOW,
) -> SearchResult:
    """Find the patterns that are most like a pattern of the lake, or like a rhythm vector.

    Few patterns are all compared; for more, the neighbours that nightly computed answer where they can, else the index.
    Without a good index everything is compared, which takes longer and gives the same answer.

    Args:
        connection: A lake.
        folder: The lake's folder, where the index lies.
        pattern_id: The pattern; sections of its own track are left out.
        vector: (DIMENSIONS,), instead of a pattern.
        instrument: Whose patterns: drums or bass. That of the pattern, where one is given.
        min_similarity: Least cosine.
        limit: Most sections in the answer.
        tempo: Lowest and highest tempo in bpm; the others are explained at `Filters`.
        exact_below: With fewer patterns to compare, no index is used.

    Returns:
        The songs with their sections, the best first; none, with a reason in query_info, where nothing fits.

    Raises:
        UnknownId: No such pattern, or it is private to somebody else.
        BadQuery: Neither or both of pattern and vector, or a vector or filter that makes no sense.
    """
    filters = Filters(tempo, genres, key, time_signature, corpus, user_id)
    _check_query(pattern_id, vector, instrument, min_similarity, limit, filters)
    own_track = None
    if pattern_id is not None:
        vector, own_track, instrument = _fetch_pattern(connection, pattern_id, user_id)
    query = _normalise(vector)

    wanted = _to_sql(filters, instrument, own_track)
    row = find_index(connection, instrument)
    fresh = row is not None and is_fresh(connection, row)
    regime, candidates, within = "exact", None, wanted
    if fresh and row["vectors"] >= exact_below:
        nearest = None
        if pattern_id is not None and filters == Filters():
            nearest = _read_precomputed(connection, row, pattern_id, min_similarity, limit)
            regime = "precomputed"
        if nearest is None:
            nearest, candidates = _ask_index(connection, folder, row, query, limit + SPARE, wanted)
            regime = "exact" if nearest is None else "index"
        within = wanted if nearest is None else wanted.within(nearest)
    if regime == "exact":
        (candidates,) = connection.execute(f"SELECT count(*) {wanted.sql}", wanted.arguments).fetchone()
    hits = _rank(connection, query, min_similarity, limit, within, PARTS[instrument])

    info = {
        "pattern_id": pattern_id,
        "instrument": instrument,
        "min_similarity": min_similarity,
        "limit": limit,
        "filters": {name: value for name, value in asdict(filters).items() if value is not None},
        "regime": regime,
        "candidates": candidates,
        "index": _describe_index(row, fresh) if row else None,
    }
    if regime == "exact" and candidates >= exact_below:
        info["advice"] = "There is no index that holds all patterns, so all were compared. Run: midime nightly"
    if not hits:
        info["reason"] = (
            "No pattern passes the filters." if candidates == 0 else f"No pattern is as similar as {min_similarity:g}."
        )
    return SearchResult(info, _group(hits))


def search_frame(connection: duckdb.DuckDBPyConnection, folder: Path, *args, **options):
    """`search_patterns` as a pandas DataFrame: one row a section, the best first."""
    return search_patterns(connection, folder, *args, **options).to_frame()


@dataclass(frozen=True)
class _Wanted:
    """The patterns to compare with: the SQL from its FROM on, and its arguments."""

    sql: str
    arguments: dict

    def within(self, pattern_ids: Sequence[str]) -> "_Wanted":
        """Only those with these identifiers."""
        sql = f"{self.sql} AND pattern_id IN (SELECT unnest($pattern_ids::UUID[]))"
        return _Wanted(sql, self.arguments | {"pattern_ids": list(pattern_ids)})


def _check_query(
    pattern_id: str | None,
    vector: Sequence[float] | None,
    instrument: str,
    min_similarity: float,
    limit: int,
    filters: Filters,
) -> None:
    if (pattern_id is None) == (vector is None):
        raise BadQuery("Search by a pattern or by a vector, not by both or neither.")
    if instrument not in PARTS:
        raise BadQuery(f"There are patterns of {' and '.join(PARTS)}, not of {instrument}.")
    if not -1 <= min_similarity <= 1:
        raise BadQuery(f"The least similarity is a cosine from -1 to 1, not {min_similarity}.")
    if limit < 1:
        raise BadQuery(f"The limit is at least 1, not {limit}.")
    if filters.tempo and not filters.tempo[0] <= filters.tempo[1]:
        raise BadQuery(f"The tempo range {filters.tempo[0]:g}:{filters.tempo[1]:g} is empty.")


def _fetch_pattern(
    connection: duckdb.DuckDBPyConnection, pattern_id: str, user_id: str | None
) -> tuple[list[float], str, str]:
    """Vector, track and instrument of a pattern that the user may see."""
    try:
        identifier = str(uuid.UUID(pattern_id))
    except ValueError as error:
        raise UnknownId(f"{pattern_id} is not a pattern identifier (a UUID).") from error
    found = connection.execute(
        "SELECT vector, track_id::VARCHAR, instrument_type FROM searchable_patterns"
        " WHERE pattern_id = ? AND (privacy_setting = 'public' OR user_id = ?)",
        [identifier, user_id],
    ).fetchone()
    if found is None:
        raise UnknownId(f"The lake holds no searchable pattern {pattern_id}.")
    return found


def _normalise(vector: Sequence[float]) -> np.ndarray:
    query = np.asarray(vector, np.float64)
    if query.shape != (DIMENSIONS,):
        raise BadQuery(f"A rhythm vector has {DIMENSIONS} numbers; this one has the shape {query.shape}.")
    length = np.linalg.norm(query)
    if not np.isfinite(length) or length == 0:
        raise BadQuery("The rhythm vector is empty or holds numbers that are not finite.")
    return (query / length).astype(np.float32)


def _to_sql(filters: Filters, instrument: str, own_track: str | None) -> _Wanted:
    conditions = ["instrument_type = $instrument", "(privacy_setting = 'public' OR user_id = $user_id)"]
    arguments = {"instrument": instrument, "user_id": filters.user_id}
    if own_track is not None:
        conditions.append("track_id <> $own_track::UUID")
        arguments["own_track"] = own_track
    if filters.tempo is not None:
        conditions.append("tempo_bpm BETWEEN $tempo_low AND $tempo_high")
        arguments |= {"tempo_low": filters.tempo[0], "tempo_high": filters.tempo[1]}
    if filters.genres:
        conditions.append("lower(detected_genre) IN (SELECT unnest($genres::VARCHAR[]))")
        arguments["genres"] = [genre.strip().lower() for genre in filters.genres]
    if filters.key is not None:
        conditions.append("lower(detected_key) = $key")
        arguments["key"] = filters.key.strip().lower()
    for column in ("time_signature", "corpus"):
        if (value := getattr(filters, column)) is not None:
            conditions.append(f"{column} = ${column}")
            arguments[column] = value
    return _Wanted(f"FROM searchable_patterns WHERE {' AND '.join(conditions)}", arguments)


def _read_precomputed(
    connection: duckdb.DuckDBPyConnection, row: dict, pattern_id: str, min_similarity: float, limit: int
) -> list[str] | None:
    """The neighbours that nightly computed, the best first; None where it kept too few or too similar ones."""
    neighbours, _, least = row["index_version"].rpartition("-top")[2].partition("-")
    if limit > int(neighbours) or min_similarity < float(least):
        return None
    answer = connection.execute(
        "SELECT pattern_id_2::VARCHAR FROM pattern_similarities"
        " WHERE pattern_id_1 = ? AND index_version = ? ORDER BY similarity_score DESC LIMIT ?",
        [pattern_id, row["index_version"], limit + SPARE],
    )
    return [neighbour for (neighbour,) in answer.fetchall()]


def _ask_index(
    connection: duckdb.DuckDBPyConnection, folder: Path, row: dict, query: np.ndarray, count: int, wanted: _Wanted
) -> tuple[list[str] | None, int | None]:
    """The nearest of the patterns that are wanted, and how many are; None where the index cannot be opened."""
    try:
        index = _open_cached(connection, folder, row)
    except MissingIndex:
        return None, None
    relation = f"(SELECT row_number() OVER () - 1 AS number, * EXCLUDE (vector) FROM {_register(connection, index)})"
    sql = wanted.sql.replace("searchable_patterns", relation, 1)
    numbers = connection.execute(f"SELECT number {sql}", wanted.arguments).fetchnumpy()["number"]
    allowed = None
    if len(numbers) < len(index):
        allowed = np.zeros(len(index), bool)
        allowed[numbers] = True
    _, found = index.find_nearest(query[None, :], min(count, max(1, len(numbers))), allowed)
    chosen = index.rows["pattern_id"].take(found[0][found[0] >= 0])
    return chosen.to_pylist(), len(numbers)


def _open_cached(connection: duckdb.DuckDBPyConnection, folder: Path, row: dict) -> GrooveIndex:
    """An index stays open for the life of the process, until another version takes its place."""
    key = (str(folder), row["instrument_type"])
    if key not in _OPEN or _OPEN[key].version["index_version"] != row["index_version"]:
        _OPEN[key] = open_index(connection, folder, row["instrument_type"])
    return _OPEN[key]


_OPEN: dict[tuple[str, str], GrooveIndex] = {}


def _register(connection: duckdb.DuckDBPyConnection, index: GrooveIndex) -> str:
    """The name by which a query on this connection finds the rows of an index."""
    connection.register("indexed_patterns", index.rows)
    return "indexed_patterns"


def _rank(
    connection: duckdb.DuckDBPyConnection,
    query: np.ndarray,
    min_similarity: float,
    limit: int,
    wanted: _Wanted,
    parts: dict[str, slice],
) -> list[tuple[str, SimilarSection]]:
    """The sections in the order of their exact similarity, each with its song."""
    shifted = shift_beats(query[None, :])[0]
    names = [f"shift_{beats}" for beats in range(len(shifted))]
    scores = ", ".join(f"array_cosine_similarity(vector, ${name}::FLOAT[{DIMENSIONS}])" for name in names)
    rows = connection.execute(
        f"""
        SELECT
            source_song_id::VARCHAR,
            section_id::VARCHAR,
            section_label,
            greatest({scores}) AS similarity_score,
            vector,
            pattern_id::VARCHAR,
            track_id::VARCHAR,
            tempo_bpm,
            detected_key,
            detected_genre,
            time_signature,
            title,
            artist,
            corpus,
            start_s,
            end_s
        {wanted.sql} AND similarity_score >= $min_similarity
        ORDER BY similarity_score DESC, pattern_id
        LIMIT $limit
        """,
        wanted.arguments
        | {name: vector.tolist() for name, vector in zip(names, shifted, strict=True)}
        | {"min_similarity": min_similarity, "limit": limit},
    ).fetchall()
    hits = []
    for song, section, label, score, vector, *rest in rows:
        shift, why = _explain(shifted, np.array(vector, np.float32), parts)
        hits.append((song, SimilarSection(section, label, score, shift, why, *rest)))
    return hits


def _explain(shifted: np.ndarray, vector: np.ndarray, parts: dict[str, slice]) -> tuple[int, dict[str, float]]:
    """The shift at which a vector is most alike, and what each part of it adds to the cosine there."""
    beats = int((shifted @ vector).argmax())
    product = shifted[beats] * vector / np.linalg.norm(vector)
    return beats, {name: round(float(product[part].sum()), 4) for name, part in parts.items()}


def _group(hits: Sequence[tuple[str, SimilarSection]]) -> tuple[SimilarSong, ...]:
    songs: dict[str, list[SimilarSection]] = {}
    for song, section in hits:
        songs.setdefault(song, []).append(section)
    return tuple(SimilarSong(song, tuple(sections)) for song, sections in songs.items())


def _describe_index(row: dict, fresh: bool) -> dict:
    built_at: datetime = row["built_at"]
    return {
        "index_version": row["index_version"],
        "built_at": built_at.isoformat(),
        "lake_snapshot": row["lake_snapshot"],
        "fresh": fresh,
    }
