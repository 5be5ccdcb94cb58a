"""Patterns like a given one, grouped by their songs. Indexes are built in catalog/index.py.

Three regimes give one answer: comparing with every pattern that passes the filters, in DuckDB, while they are few;
beyond, the neighbours that nightly has computed, or candidates from the index. Whoever proposes them, the same
arithmetic judges the best.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from math import floor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from catalog.connection import connect
from catalog.errors import BadQuery, MissingIndex, UnknownId
from catalog.filters import Filters
from catalog.groove_index import GrooveIndex
from catalog.index import find_index, is_fresh, open_index
from catalog.vectors import DIMENSIONS, PARTS, SHIFTS, shift_beats

EXACT_BELOW = 10_000
SPARE = 12  # candidates beyond those that are wanted: equals are put in order, and copies folded, afterwards
SAME_SECTION = 0.5  # of the shorter of two sections of a song: sharing more, they are one section in two copies


@dataclass(frozen=True)
class SimilarSection:
    """A section whose pattern is like the one asked for; song_id is the section, as in the view `songs`.

    Attributes:
        similarity_score: Cosine of the two vectors, where one is shifted by `shift_beats`.
        shift_beats: Beats by which the pattern's bars begin later than those of the one asked for, 0 to 7.5 in halves.
        why: What kick, snare, cymbals, toms and the strokes of any drum add to the score, or a bass's rhythm and pitch.
        preview: The command that lets one hear it.
        copies: Tracks that hold this section too, as copies or excerpts of the same song.
    """

    song_id: str
    section: str | None
    similarity_score: float
    shift_beats: float
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
    preview: str
    copies: tuple[str, ...] = ()


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
            passed the filters (not counted for precomputed answers), and the index with whether it is fresh. Where
            nothing is found, the reason, and the similarity of the nearest pattern, None if there is none.
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
        """One row a section as a pandas DataFrame, the best first; `query_info` is among its `attrs`."""
        import pandas as pd

        rows = [
            {"source_song_id": song.source_song_id} | asdict(section)
            for song in self.results
            for section in song.sections
        ]
        columns = ["source_song_id", *SimilarSection.__dataclass_fields__]
        frame = pd.DataFrame(rows, columns=columns)
        frame = frame.sort_values(["similarity_score", "pattern_id"], ascending=[False, True], ignore_index=True)
        frame.attrs["query_info"] = self.query_info
        return frame


def search_patterns(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    pattern_id: str | None = None,
    vector: Sequence[float] | np.ndarray | None = None,
    instrument: str = "drums",
    min_similarity: float = 0.7,
    limit: int = 20,
    tempo: tuple[float, float] | None = None,
    genres: Sequence[str] | None = None,
    key: str | None = None,
    time_signature: str | None = None,
    corpus: str | None = None,
    privacy: str | None = None,
    user_id: str | None = None,
    exact_below: int = EXACT_BELOW,
) -> SearchResult:
    """Find the patterns that are most like a pattern of the lake, or like a rhythm vector.

    Few patterns are all compared; for more, the neighbours that nightly computed answer where they can, else the index.
    Without a good index everything is compared, which takes longer and gives the same answer.

    Args:
        connection: A lake.
        folder: The lake's folder, where the index lies.
        pattern_id: The pattern; sections of its own song are left out.
        vector: (DIMENSIONS,), instead of a pattern; or (n, DIMENSIONS), several ways to count one groove, of which each
            pattern is compared with the one that it is most like.
        instrument: Whose patterns: drums or bass. That of the pattern, where one is given.
        min_similarity: Least cosine.
        limit: Most sections in the answer.
        tempo: Lowest and highest tempo in bpm; the others are explained at `catalog.filters.Filters`.
        exact_below: With fewer patterns to compare, no index is used.

    Returns:
        The songs with their sections, the best first; none, with a reason in query_info, where nothing fits.

    Raises:
        UnknownId: No such pattern, or it is private to somebody else.
        BadQuery: Neither or both of pattern and vector, or a vector or filter that makes no sense.
    """
    filters = Filters(tempo, genres, key, time_signature, corpus, privacy, user_id)
    _check_query(pattern_id, vector, instrument, min_similarity, limit, filters)
    own_song = None
    if pattern_id is not None:
        vector, own_song, instrument = _fetch_pattern(connection, pattern_id, user_id)
    queries = _normalise(vector)

    row = find_index(connection, instrument)
    fresh = row is not None and is_fresh(connection, row)
    wanted = _Wanted(queries, min_similarity, filters, instrument, own_song)
    index = _open_cached(connection, folder, row) if fresh and row["vectors"] >= exact_below else None
    propose = partial(_compare_all, connection) if index is None else partial(_ask_index, index)
    regime, hits, candidates = "exact" if index is None else "index", None, None
    if index is not None and pattern_id is not None and filters == Filters():
        hits = _read_precomputed(connection, index, wanted, pattern_id, limit)
        regime = "index" if hits is None else "precomputed"
    if hits is None:
        hits, candidates = _ask(propose, wanted, limit)

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
        nearest, compared = _ask(propose, replace(wanted, min_similarity=-1.0), 1)
        info["nearest"] = nearest[0][1].similarity_score if nearest else None
        info["reason"] = _explain(wanted, compared, info["nearest"])
    return SearchResult(info, _group(hits[:limit]))


def search_frame(connection: duckdb.DuckDBPyConnection, folder: Path, *args, **options):
    """`search_patterns` as a pandas DataFrame: one row a section, the best first."""
    return search_patterns(connection, folder, *args, **options).to_frame()


def find_patterns(lake: str | Path, catalog: str | None = None, **options):
    """Similar patterns of a lake as a pandas DataFrame, as `find_patterns("data/lake", pattern_id="…", limit=5)`.

    Args:
        lake: The lake's folder.
        catalog: Its catalogue, where that is a database elsewhere.
        options: Those of `search_patterns`.
    """
    with connect(lake, catalog) as connection:
        return search_frame(connection, Path(lake), **options)


@dataclass(frozen=True)
class _Wanted:
    """What is looked for: vectors of unit length (n, DIMENSIONS), and what the patterns have to be like."""

    queries: np.ndarray
    min_similarity: float
    filters: Filters
    instrument: str
    own_song: str | None

    def shifted(self) -> np.ndarray:
        """Each vector at each shift, (n · SHIFTS, DIMENSIONS)."""
        return shift_beats(self.queries, self.instrument).reshape(-1, DIMENSIONS)


def _check_query(
    pattern_id: str | None,
    vector: Sequence[float] | np.ndarray | None,
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
    filters.check()


def _fetch_pattern(
    connection: duckdb.DuckDBPyConnection, pattern_id: str, user_id: str | None
) -> tuple[list[float], str, str]:
    """Vector, song and instrument of a pattern that the user may see."""
    try:
        identifier = str(uuid.UUID(pattern_id))
    except ValueError as error:
        raise UnknownId(f"{pattern_id} is not a pattern identifier (a UUID).") from error
    found = connection.execute(
        "SELECT vector, source_song_id::VARCHAR, instrument_type FROM searchable_patterns"
        " WHERE pattern_id = ? AND (privacy_setting = 'public' OR user_id = ?)",
        [identifier, user_id],
    ).fetchone()
    if found is not None:
        return found
    seen = connection.execute(
        "SELECT count(*) FROM patterns JOIN tracks USING (track_id)"
        " WHERE pattern_id = ? AND (privacy_setting = 'public' OR user_id = ?)",
        [identifier, user_id],
    ).fetchone()[0]
    if seen:
        raise UnknownId(f"The pattern {pattern_id} is empty: nothing can be like it.")
    raise UnknownId(f"The lake holds no pattern {pattern_id}.")


def _normalise(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    given = np.asarray(vector, np.float64)
    queries = np.atleast_2d(given)
    if queries.ndim != 2 or queries.shape[1] != DIMENSIONS or not len(queries):
        raise BadQuery(f"A rhythm vector has {DIMENSIONS} numbers; this one has the shape {given.shape}.")
    length = np.linalg.norm(queries, axis=1, keepdims=True)
    if not np.isfinite(length).all():
        raise BadQuery("The rhythm vector holds numbers that are not finite.")
    if not length.all():
        raise BadQuery("The pattern is empty: nothing can be like it.")
    return (queries / length).astype(np.float32)


Hits = list[tuple[str, SimilarSection]]  # each with its song
Proposals = Iterator[tuple[pa.Table, int]]  # rows with the columns of an index, and how many patterns pass the filters


def _ask(propose: Callable[[_Wanted, int], Proposals], wanted: _Wanted, limit: int) -> tuple[Hits, int]:
    """Judge more and more proposals until enough sections are left when copies are folded."""
    hits, candidates = [], 0
    for rows, passing in propose(wanted, limit):
        hits, candidates = _fold_copies(_judge(wanted, rows)), passing
        if len(hits) >= limit:
            break
    return hits, candidates


def _explain(wanted: _Wanted, candidates: int, nearest: float | None) -> str:
    """Why nothing was found."""
    if nearest is not None:
        return (
            f"No pattern is as similar as {wanted.min_similarity:g}: the nearest of {candidates} has a similarity of "
            f"{floor(1000 * nearest) / 1000:g}."
        )
    asked = wanted.filters.describe()
    if asked:
        return f"No pattern of {wanted.instrument} passes the filters ({asked})."
    others = " of another song" if wanted.own_song else ""
    return f"The lake holds no pattern of {wanted.instrument}{others} that could be like it."


def _read_precomputed(
    connection: duckdb.DuckDBPyConnection, index: GrooveIndex, wanted: _Wanted, pattern_id: str, limit: int
) -> Hits | None:
    """The neighbours that nightly computed; None where it kept too few or too similar ones."""
    version = index.version["index_version"]
    neighbours, _, least = version.rpartition("-top")[2].partition("-")
    if limit > int(neighbours) or wanted.min_similarity < float(least):
        return None
    found = connection.execute(
        "SELECT pattern_id_2::VARCHAR FROM pattern_similarities WHERE pattern_id_1 = ? AND index_version = ?",
        [pattern_id, version],
    ).fetchall()
    rows = index.rows.take(index.find_rows([pattern for (pattern,) in found]))
    similar = _judge(wanted, rows)
    hits = _fold_copies(similar)
    return hits if len(hits) >= limit or len(similar) < int(neighbours) else None


def _compare_all(connection: duckdb.DuckDBPyConnection, wanted: _Wanted, limit: int) -> Proposals:
    """The nearest of all patterns that are wanted, by DuckDB; more of them each time."""
    conditions, arguments = wanted.filters.to_sql(wanted.instrument, wanted.own_song)
    (candidates,) = connection.execute(
        f"SELECT count(*) FROM searchable_patterns WHERE {conditions}", arguments
    ).fetchone()
    shifted = wanted.shifted()
    names = [f"shift_{number}" for number in range(len(shifted))]
    scores = ", ".join(f"array_cosine_similarity(vector, ${name}::FLOAT[{DIMENSIONS}])" for name in names)
    arguments |= {name: vector.tolist() for name, vector in zip(names, shifted, strict=True)}
    count = limit + SPARE
    while True:
        rows = connection.execute(
            f"""
            SELECT pattern_id::VARCHAR AS pattern_id, section_id::VARCHAR AS section_id,
                track_id::VARCHAR AS track_id, source_song_id::VARCHAR AS source_song_id,
                * EXCLUDE (pattern_id, section_id, track_id, source_song_id), greatest({scores}) AS similarity_score
            FROM searchable_patterns
            WHERE {conditions} AND similarity_score >= $least
            ORDER BY similarity_score DESC, pattern_id
            LIMIT $count
            """,
            arguments | {"least": wanted.min_similarity - ROUNDING, "count": count},
        ).to_arrow_table()
        yield rows, candidates
        if len(rows) < count:
            return
        count *= 4


def _ask_index(index: GrooveIndex, wanted: _Wanted, limit: int) -> Proposals:
    """The nearest of the patterns that are wanted, from the index; more of them each time."""
    allowed = wanted.filters.choose(index.columns, wanted.own_song)
    candidates = len(index) if allowed is None else int(np.count_nonzero(allowed))
    count = limit + SPARE
    while candidates:
        scores, found = index.find_nearest(wanted.queries, min(count, candidates), allowed)
        near = (found >= 0) & (scores >= wanted.min_similarity - ROUNDING)
        yield index.rows.take(np.unique(found[near])), candidates
        if (near.sum(axis=1) < count).all():
            return
        count *= 4
    yield index.rows.slice(0, 0), 0


ROUNDING = 1e-5  # float32 sums in another order differ by less


def _open_cached(connection: duckdb.DuckDBPyConnection, folder: Path, row: dict) -> GrooveIndex | None:
    """An index stays open for the life of the process, until another version takes its place; None where it is lost."""
    key = (str(folder), row["instrument_type"])
    if key not in _OPEN or _OPEN[key].version["index_version"] != row["index_version"]:
        try:
            _OPEN[key] = open_index(connection, folder, row["instrument_type"])
        except MissingIndex:
            return None
    return _OPEN[key]


_OPEN: dict[tuple[str, str], GrooveIndex] = {}


def _judge(wanted: _Wanted, rows: pa.Table) -> list[tuple[dict, SimilarSection]]:
    """The sections in the order of their exact similarity, equals by identifier, each with its row."""
    found = rows.drop_columns(["vector"]).to_pylist()
    vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(-1, DIMENSIONS).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    shifted = wanted.shifted().astype(np.float64)
    scores = vectors @ shifted.T
    nearest = scores.argmax(axis=1)
    products = vectors * shifted[nearest]
    parts, hits = PARTS[wanted.instrument], []
    for number, row in enumerate(found):
        score = round(float(scores[number, nearest[number]]), 6)
        if score < wanted.min_similarity:
            continue
        section = SimilarSection(
            song_id=row["section_id"],
            section=row["section_label"],
            similarity_score=score,
            shift_beats=float(nearest[number] % SHIFTS) / 2,
            why={name: round(float(products[number, part].sum()), 4) for name, part in parts.items()},
            tempo=row["tempo_bpm"],
            key=row["detected_key"],
            genre=row["detected_genre"],
            preview=f"midime preview {row['pattern_id']} -o {row['pattern_id']}.ogg",
            **{name: row[name] for name in TOLD_AS_THEY_ARE},
        )
        hits.append((row, section))
    return sorted(hits, key=lambda hit: (-hit[1].similarity_score, hit[1].pattern_id))


TOLD_AS_THEY_ARE = (
    "pattern_id", "track_id", "time_signature", "title", "artist", "corpus", "start_s", "end_s"
)  # fmt: skip


def _fold_copies(hits: list[tuple[dict, SimilarSection]]) -> list[tuple[str, SimilarSection]]:
    """Each section of a song once, however many copies of the song there are; the most similar one speaks for all."""
    kept: dict[str, list[list]] = {}
    order = []
    for row, section in hits:
        mine = kept.setdefault(row["source_song_id"], [])
        same = next((hit for hit in mine if _is_same_section(hit[0], row)), None)
        if same is None:
            hit = [row, section, {}]
            mine.append(hit)
            order.append(hit)
        else:
            same[2][row["track_id"]] = True
    return [(row["source_song_id"], replace(section, copies=tuple(copies))) for row, section, copies in order]


def _is_same_section(first: dict, second: dict) -> bool:
    """Whether two sections of a song lie in different tracks and at the same place of the song."""
    if first["track_id"] == second["track_id"] or None in (first["song_start_s"], second["song_start_s"]):
        return False
    lengths = [row["end_s"] - row["start_s"] for row in (first, second)]
    start = max(first["song_start_s"], second["song_start_s"])
    end = min(row["song_start_s"] + length for row, length in zip((first, second), lengths, strict=True))
    return end - start > SAME_SECTION * min(lengths)


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
