"""One clip, asked for by a person or a program: what was heard, and whether the lake knows the song."""

from pathlib import Path

from catalog.errors import LakeNotFound
from catalog.lake import connect, hash_file
from catalog.tables import make_id
from flows.settings import Settings
from tasks.errors import TrackError
from tasks.fold import SectionPattern
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
    known = _find_song(analysis, track_id, settings)
    pattern = analysis.best_pattern(instrument)
    section = pattern.section if pattern else 0
    start, end = float(analysis.sections.start_s[section]), float(analysis.sections.end_s[section])
    return {
        "status": "success",
        "data": {
            "song_id": make_id("section", track_id, f"{start:.3f}", f"{end:.3f}"),
            "source_song_id": known["source_song_id"] or track_id,
            "section": str(analysis.sections.section_label[section]),
            "duplicate_detected": known["source_song_id"] is not None,
            "existing_sections": known["existing_sections"],
            "duration": round(analysis.duration_s, 3),
            "midi_data": pattern.midi_data if pattern else None,
            "pattern": _describe(pattern),
            "tempo": analysis.rhythm.tempo_bpm,
            "tempo_confidence": analysis.rhythm.tempo_confidence,
            "time_signature": analysis.rhythm.time_signature,
            "detected_key": analysis.key.detected_key,
            "key_confidence": analysis.key.key_confidence,
            "loudness_lufs": analysis.levels.loudness_lufs,
            "quality_score": analysis.quality_score,
        },
    }


def _describe(pattern: SectionPattern | None) -> dict | None:
    if pattern is None:
        return None
    return {
        "instrument": pattern.instrument_type,
        "bars": pattern.bars,
        "quality_score": pattern.quality_score,
        "steps": dict(row.split("=") for row in pattern.groove.split()),
    }


def _find_song(analysis: Analysis, track_id: str, settings: Settings) -> dict:
    """The song in the lake that shares audio with the clip, and its sections."""
    from catalog.duplicates import find_changed_of, find_duplicates_of

    try:
        connection = connect(settings.lake, settings.catalog)
    except LakeNotFound:
        return {"source_song_id": None, "existing_sections": []}
    with connection:
        matches = find_duplicates_of(connection, analysis.fingerprint.items, analysis.fingerprint.hop_s, settings.lake)
        matches = matches or find_changed_of(connection, analysis.peaks.items, settings.lake)
        if not matches:
            return {"source_song_id": None, "existing_sections": []}
        best = str(matches[0].track_id)
        song = connection.execute(
            "SELECT coalesce((SELECT source_song_id FROM song_groups WHERE track_id = ?), ?::UUID)::VARCHAR",
            [best, best],
        ).fetchone()[0]
        sections = connection.execute(
            "SELECT section_id::VARCHAR, section_label, start_s, end_s FROM sections"
            " WHERE track_id = ? ORDER BY start_s",
            [best],
        ).fetchall()
    names = ("song_id", "section", "start_s", "end_s")
    return {"source_song_id": song, "existing_sections": [dict(zip(names, row, strict=True)) for row in sections]}
