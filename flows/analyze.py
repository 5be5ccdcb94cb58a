"""One clip, asked for by a person or a program: what was heard, and whether the lake knows the song."""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from catalog.connection import connect
from catalog.duplicates import KnownSong, find_changed_of, find_duplicates_of
from catalog.errors import LakeNotFound
from catalog.file_record import hash_file
from catalog.matching.constellation import Constellation
from catalog.tables import make_id
from flows.settings import Settings
from tasks.errors import TrackError
from tasks.fold import SectionPattern
from tasks.music.vectors import split_meter
from tasks.track import Analysis, analyse_file


def analyze_clip(
    file: Path, settings: Settings, start_s: float = 0.0, end_s: float | None = None, instrument: str = "drums"
) -> dict:
    """Analyse a clip.

    Args:
        file: The audio file.
        settings: Where the lake lies, and how the file is analysed.
        start_s, end_s: The part, in seconds; all of it by default.
        instrument: Whose pattern is wanted, drums or bass.

    Returns:
        status "success" with data, or "error" with reason and message.
    """
    from dataclasses import replace

    params = replace(settings.track_params(), lake=None, threads=settings.workers)
    try:
        analysis = analyse_file(file, params, start_s, end_s)
    except TrackError as error:
        return {"status": "error", "reason": error.reason, "message": str(error)}
    track_id = make_id("track", hash_file(file))
    known = recognise(analysis, settings)
    pattern = analysis.best_pattern(instrument)
    section = pattern.section if pattern else 0
    start, end = float(analysis.sections.start_s[section]), float(analysis.sections.end_s[section])
    return {
        "status": "success",
        "data": {
            "song_id": make_id("section", track_id, f"{start:.3f}", f"{end:.3f}"),
            "source_song_id": known.source_song_id or track_id,
            "section": str(analysis.sections.section_label[section]),
            "duplicate_detected": known.duplicate_detected,
            "duplicate_reason": known.duplicate_reason,
            "existing_sections": list(known.existing_sections),
            "duration": round(analysis.duration_s, 3),
            "midi_data": pattern.midi_data if pattern else None,
            "pattern": describe_pattern(pattern) if pattern else None,
            "tempo": analysis.rhythm.tempo_bpm,
            "tempo_confidence": analysis.rhythm.tempo_confidence,
            "time_signature": analysis.rhythm.time_signature,
            "detected_key": analysis.key.detected_key,
            "key_confidence": analysis.key.key_confidence,
            "loudness_lufs": analysis.levels.loudness_lufs,
            "quality_score": analysis.quality_score,
        },
    }


def describe_pattern(pattern: SectionPattern) -> dict:
    """What the answer says of a pattern: its steps are those of `time_signature`, by their row."""
    return {
        "instrument": pattern.instrument_type,
        "bars": pattern.bars,
        "time_signature": pattern.time_signature,
        "quality_score": pattern.quality_score,
        "steps": dict(row.split("=") for row in split_meter(pattern.groove)[1].split()),
    }


@dataclass(frozen=True)
class Recognised:
    """What the lake knows of a clip; the fields are those of the answer.

    Attributes:
        duplicate_detected: None where nobody was to look.
        duplicate_reason: Why or why not, in a sentence.
        source_song_id: The song; None where it is not known.
        existing_sections: Sections of the known track, those that the clip lies in first.
    """

    duplicate_detected: bool | None
    duplicate_reason: str
    source_song_id: str | None = None
    existing_sections: tuple[dict, ...] = ()


def recognise(analysis: Analysis, settings: Settings) -> Recognised:
    """Find the song of the lake that shares audio with a clip, among the tracks that the user may see."""
    if not settings.find_duplicates:
        return Recognised(None, "Known songs are not looked for: MIDIME_FIND_DUPLICATES is off.")
    if not analysis.fingerprint.usable and not Constellation.from_items(analysis.peaks.items).usable:
        return Recognised(False, "The clip says nothing: it is silence, a steady tone, or shorter than about 5 s.")
    try:
        connection = connect(settings.lake, settings.catalog)
    except LakeNotFound as error:
        return Recognised(False, str(error))
    params = settings.duplicate_params()
    with connection:
        heard = analysis.fingerprint
        for found in (
            lambda: find_duplicates_of(connection, heard.items, heard.hop_s, settings.lake, params),
            lambda: find_changed_of(connection, analysis.peaks.items, settings.lake, params),
        ):
            for song in found():
                if _may_see(connection, song.track_id, settings.user):
                    return _describe_song(connection, song, analysis.duration_s, settings.sections_per_song)
    return Recognised(False, "No track of the lake shares audio with the clip.")


def _may_see(connection: duckdb.DuckDBPyConnection, track_id: str, user: str | None) -> bool:
    sql = "SELECT count(*) FROM tracks WHERE track_id = ? AND (privacy_setting = 'public' OR user_id = ?)"
    return bool(connection.execute(sql, [track_id, user]).fetchone()[0])


def _describe_song(
    connection: duckdb.DuckDBPyConnection, song: KnownSong, length_s: float, most_sections: int
) -> Recognised:
    """The song that a clip of some length is of, with the sections that it lies in before the others."""
    sections = connection.execute(
        """
        SELECT section_id::VARCHAR AS song_id, section_label AS section, start_s, end_s,
            greatest(0, least(end_s, $start + $length) - greatest(start_s, $start)) AS shared_s
        FROM sections WHERE track_id = $track
        ORDER BY shared_s = 0, start_s LIMIT $most
        """,
        {"track": song.track_id, "start": song.offset_s, "length": length_s, "most": most_sections},
    ).fetchall()
    names = ("song_id", "section", "start_s", "end_s", "shared_s")
    reason = (
        f"The clip is {song.relation} of track {song.track_id}: {song.overlap_s:.1f} s are shared, with a score of"
        f" {song.score:.2f}, and the clip starts at {song.offset_s:.1f} s."
    )
    return Recognised(True, reason, song.source_song_id, tuple(dict(zip(names, row, strict=True)) for row in sections))
