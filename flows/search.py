"""Search as a person asks for it, by a pattern, a file or steps written out; and the files that a pattern gives."""

import uuid
from pathlib import Path

import duckdb
import numpy as np

from catalog.connection import connect
from catalog.errors import CatalogError, UnknownId
from catalog.search import search_patterns
from flows.settings import Settings
from tasks.errors import TrackError

PREVIEW_S = 15.0


def find_similar(query: str, settings: Settings, instrument: str = "drums", **filters) -> dict:
    """Patterns like the one asked for.

    Args:
        query: A pattern's identifier, an audio file, a MIDI file (.mid) of drums, or steps such as
            "kick=x... snare=..x." and "bass=0..7".
        settings: Where the lake lies, and how a file is analysed.
        instrument: Whose pattern of an audio file is asked for, drums or bass; steps and patterns tell by themselves.
        filters: Passed on to `catalog.search.search_patterns`.

    Raises:
        UnknownId: Neither a pattern in the lake nor a file.
        CatalogError: The file or the steps have no pattern of the instrument, or cannot be read.
    """
    from tasks.music.vectors import split_meter

    with connect(settings.lake, settings.catalog) as connection:
        instrument = "bass" if split_meter(query)[1].startswith("bass=") else instrument
        vector = _read_vector(query, settings, instrument)
        if vector is not None:
            answer = search_patterns(connection, settings.lake, vector=vector, instrument=instrument, **filters)
        else:
            answer = search_patterns(connection, settings.lake, pattern_id=read_id(query), **filters)
        return answer.to_dict()


def write_midi(pattern_id: str, output: Path, settings: Settings, user_id: str | None, quantise: bool = False) -> None:
    """Write a pattern's MIDI file, as it was played or on the sixteenths of its bars."""
    from tasks.music.midi import quantise_midi

    with connect(settings.lake, settings.catalog) as connection:
        row = _fetch_pattern(connection, pattern_id, user_id, "patterns.midi")
    output.write_bytes(quantise_midi(row[0]) if quantise else row[0])


def write_preview(pattern_id: str, output: Path, settings: Settings, user_id: str | None) -> float:
    """Write the first seconds of a pattern's section from the track's own file; how many seconds there are.

    Raises:
        CatalogError: No file of the track can be read any more.
    """
    from tasks.audio import read_audio, write_audio

    with connect(settings.lake, settings.catalog) as connection:
        track, start_s, end_s = _fetch_pattern(
            connection, pattern_id, user_id, "patterns.track_id, sections.start_s, sections.end_s"
        )
        places = connection.execute("SELECT uri FROM files WHERE track_id = ? ORDER BY uri", [track]).fetchall()
    paths = [path for (uri,) in places if (path := _to_path(uri)).is_file()]
    if not paths:
        raise CatalogError(f"No file of track {track} is where it was ingested from.")
    try:
        signal = read_audio(paths[0], start_s, min(end_s, start_s + PREVIEW_S))
        write_audio(output, signal, PREVIEW_S)
    except TrackError as error:
        raise CatalogError(str(error)) from error
    return signal.duration_s


def _read_vector(query: str, settings: Settings, instrument: str) -> np.ndarray | None:
    """The vector of steps, or those of a file, (n, DIMENSIONS); None for what can only be an identifier."""
    from tasks.music.basslines import bass_vector, read_bassline
    from tasks.music.midi import MidiError
    from tasks.music.vectors import BadSteps, drum_vector, grid_from_midi, grid_from_steps

    path = Path(query)
    try:
        if not path.is_file():
            if instrument == "bass" and "=" in query:
                return bass_vector(*read_bassline(query))
            return drum_vector(grid_from_steps(query)) if "=" in query else None
        if path.suffix.lower() not in (".mid", ".midi"):
            return _fingerprint_file(path, settings, instrument)
        if instrument != "drums":
            raise CatalogError("A MIDI file is searched for by its drums. Write a bass line as steps, as in bass=0..7.")
        grid = grid_from_midi(path.read_bytes())
    except (BadSteps, MidiError) as error:
        raise CatalogError(str(error)) from error
    if grid is None:
        raise CatalogError(f"{path} has no drums on channel 10.")
    return drum_vector(*grid)


def _fingerprint_file(path: Path, settings: Settings, instrument: str) -> np.ndarray:
    """The vectors of a file's best pattern, counted in each way that is likely; the likeliest first."""
    from dataclasses import replace

    from tasks.track import analyse_file

    params = replace(settings.track_params(), lake=None, threads=settings.workers)
    try:
        analysis = analyse_file(path, params)
    except TrackError as error:
        raise CatalogError(f"{path} cannot be analysed: {error}") from error
    pattern = analysis.best_pattern(instrument)
    if pattern is None:
        raise CatalogError(f"No pattern of {instrument} was found in {path}.")
    others = [other.fingerprint for other in analysis.count_otherwise(instrument)]
    return np.array([pattern.fingerprint, *(other for other in others if other.any())])


def _fetch_pattern(connection: duckdb.DuckDBPyConnection, pattern_id: str, user_id: str | None, columns: str) -> tuple:
    row = connection.execute(
        f"SELECT {columns} FROM patterns JOIN sections USING (section_id)"
        " JOIN tracks ON tracks.track_id = patterns.track_id"
        " WHERE pattern_id = ? AND (tracks.privacy_setting = 'public' OR tracks.user_id = ?)",
        [read_id(pattern_id), user_id],
    ).fetchone()
    if row is None:
        raise UnknownId(f"The lake holds no pattern {pattern_id}.")
    return row


def read_id(text: str) -> str:
    """An identifier as the lake writes it.

    Raises:
        UnknownId: The text is no UUID.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UnknownId(f"{text} is neither a file nor an identifier (a UUID).") from error


def _to_path(uri: str) -> Path:
    from urllib.parse import unquote_to_bytes, urlsplit

    return Path(unquote_to_bytes(urlsplit(uri).path).decode("utf-8", "surrogateescape"))
