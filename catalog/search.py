"""Patterns like a given one, grouped by their songs. Indexes are built in catalog/index.py.

Two regimes give one answer: a cosine with every pattern that passes the filters, in DuckDB, while they are few; beyond,
candidates from the FAISS index, whose scores are then computed in DuckDB all the same.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np

from catalog.errors import BadQuery, UnknownId
from catalog.index import DIMENSIONS, OpenIndex, bound_number, find_index, is_fresh, number_patterns, open_index

EXACT_BELOW = 10_000
MIN_INDEX_SHARE = 0.2  # where filters leave less of an index, comparing with all that is left is as fast
CANDIDATES_A_RESULT = 4
MAX_UNWANTED = 100


@dataclass(frozen=True)
class SimilarSection:
    """A section whose pattern is like the one asked for; song_id is the section, as in the view `songs`."""

    song_id: str
    section: str | None
    similarity_score: float
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
        query_info: What was asked, and how it was answered: the regime (exact or index), how many patterns passed the
            filters, and the index with whether it is fresh.
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

    Args:
        connection: A lake.
        folder: The lake's folder, where the index lies.
        pattern_id: The pattern; sections of its own track are left out.
        vector: (DIMENSIONS,), instead of a pattern.
        instrument: Whose patterns.
        min_similarity: Least cosine.
        limit: Most sections in the answer.
        tempo: Lowest and highest tempo in bpm; the others are explained at `Filters`.
        exact_below: With fewer patterns to compare, no index is used.

    Returns:
        The songs with their sections, the best first; none, with a reason in query_info, where nothing fits.

    Raises:
        UnknownId: No such pattern, or it is private to somebody else.
        BadQuery: Neither or both of pattern and vector, or a vector or filter that makes no sense.
        MissingIndex, StaleIndex: An index is needed, and there is no good one.
    """
    filters = Filters(tempo, genres, key, time_signature, corpus, user_id)
    _check_query(pattern_id, vector, min_similarity, limit, filters)
    own_track = None
    if pattern_id is not None:
        vector, own_track, instrument = _fetch_pattern(connection, pattern_id, user_id)
    query = _normalise(vector)

    wanted = _to_sql(filters, instrument, own_track)
    (candidates,) = connection.execute(f"SELECT count(*) {wanted.sql}", wanted.arguments).fetchone()
    row = find_index(connection, instrument)
    indexed = row["vectors"] if row else 0
    regime = "index" if candidates >= max(exact_below, MIN_INDEX_SHARE * indexed) else "exact"
    if regime == "index":
        index = open_index(connection, folder, instrument)
        nearest = _find_nearest(connection, index, query, limit, wanted, candidates)
        hits = _rank(connection, query, min_similarity, limit, wanted.within(nearest))
    else:
        hits = _rank(connection, query, min_similarity, limit, wanted)

    info = {
        "pattern_id": pattern_id,
        "instrument": instrument,
        "min_similarity": min_similarity,
        "limit": limit,
        "filters": {name: value for name, value in asdict(filters).items() if value is not None},
        "regime": regime,
        "candidates": candidates,
        "index": _describe_index(row, regime == "index" or is_fresh(connection, row)) if row else None,
    }
    if not hits:
        info["reason"] = (
            f"No pattern is as similar as {min_similarity:g}." if candidates else "No pattern passes the filters."
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

    def within(self, numbers: np.ndarray) -> "_Wanted":
        """Only those with these pattern numbers, which are the fronts of identifiers."""
        ranges = "(SELECT unnest($lows::UUID[]) AS low, unnest($highs::UUID[]) AS high)"
        bounds = [bound_number(int(number)) for number in numbers]
        lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
        sql = self.sql.replace(" WHERE ", f" JOIN {ranges} ON pattern_id BETWEEN low AND high WHERE ", 1)
        return _Wanted(sql, self.arguments | {"lows": lows, "highs": highs})


def _check_query(
    pattern_id: str | None, vector: Sequence[float] | None, min_similarity: float, limit: int, filters: Filters
) -> None:
    if (pattern_id is None) == (vector is None):
        raise BadQuery("Search by a pattern or by a vector, not by both or neither.")
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


def _find_nearest(
    connection: duckdb.DuckDBPyConnection,
    index: OpenIndex,
    query: np.ndarray,
    limit: int,
    wanted: _Wanted,
    candidates: int,
) -> np.ndarray:
    """Numbers of the patterns that may be among the nearest of those wanted."""
    count = CANDIDATES_A_RESULT * limit
    unwanted = index.vectors - candidates
    if unwanted <= MAX_UNWANTED:  # such as the pattern's own track: so many more are sure to hold enough
        _, found = index.find_nearest(query[None, :], min(count + unwanted, index.vectors))
    else:
        rows = connection.execute(f"SELECT pattern_id::VARCHAR {wanted.sql}", wanted.arguments).fetchall()
        numbers = number_patterns([pattern for (pattern,) in rows])
        _, found = index.find_nearest(query[None, :], min(count, candidates), numbers)
    return found[found >= 0]


def _rank(
    connection: duckdb.DuckDBPyConnection, query: np.ndarray, min_similarity: float, limit: int, wanted: _Wanted
) -> list[tuple[str, SimilarSection]]:
    """The sections in the order of their exact similarity, each with its song."""
    rows = connection.execute(
        f"""
        SELECT
            source_song_id::VARCHAR,
            section_id::VARCHAR,
            section_label,
            array_cosine_similarity(vector, $query::FLOAT[{DIMENSIONS}]) AS similarity_score,
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
        wanted.arguments | {"query": query.tolist(), "min_similarity": min_similarity, "limit": limit},
    ).fetchall()
    return [(song, SimilarSection(*section)) for song, *section in rows]


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
