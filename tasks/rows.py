"""What the lake keeps of an analysis: the rows of each table, in the order of the tables' keys."""

import json
from collections.abc import Collection
from datetime import datetime

import numpy as np

from catalog.tables import make_id
from tasks.music.beats import tempo_between
from tasks.music.drums import midi_note_of
from tasks.plan import PRINTS, TrackJob
from tasks.track import Analysis

HIT_DURATION_S = 0.05  # drums have no note off; this is what the MIDI files write

TABLE_STAGES = {
    "stems": {"separate"},
    "onsets": {"onsets"},
    "beats": {"beats"},
    "notes": {"drums", "notes"},
    "sections": {"sections"},
    "patterns": {"patterns", "midi"},
    "fingerprints": {"chromaprint", "peaks", "beatchroma"},
}
"""The stages that write the rows of a table. Each column of `tracks` has one of its own, below."""

TRACK_COLUMNS = {
    "decode": {
        "duration_s",
        "codec",
        "sample_rate_hz",
        "channels",
        "title",
        "artist",
        "album",
        "genre_tag",
        "detected_genre",
        "genre_confidence",
        "genre_source",
    },
    "beats": {
        "tempo_bpm",
        "tempo_confidence",
        "tempo_alternative_bpm",
        "time_signature",
        "time_signature_confidence",
        "swing_ratio",
    },
    "key": {"detected_key", "key_confidence"},
    "quality": {"loudness_lufs", "quality_score"},
}


def make_rows(
    analysis: Analysis, job: TrackJob, run_id: str, now: datetime, user_id: str | None, privacy_setting: str
) -> dict[str, list[dict]]:
    """The rows of one track, by table; every table of `catalog.tables.TRACK_TABLES` has an entry."""
    base = {"corpus": job.corpus, "track_id": job.track_id}
    section_ids = [
        make_id("section", job.track_id, f"{start_s:.3f}", f"{end_s:.3f}")
        for start_s, end_s in zip(analysis.sections.start_s, analysis.sections.end_s, strict=True)
    ]
    rows = {
        "tracks": [_track_row(analysis, job, now, user_id, privacy_setting)],
        "stems": [vars(stem) for stem in analysis.stems],
        "onsets": [
            {"stem": stem, "time_s": float(time_s), "strength": float(strength)}
            for stem, found in analysis.onsets.items()
            for time_s, strength in zip(found.time_s, found.strength, strict=True)
        ],
        "beats": [
            {"time_s": float(time_s), "beat_in_bar": int(beat)}
            for time_s, beat in zip(analysis.rhythm.time_s, analysis.rhythm.beat_in_bar, strict=True)
        ],
        "notes": _note_rows(analysis),
        "sections": _section_rows(analysis, section_ids),
        "patterns": _pattern_rows(analysis, section_ids, now),
        "fingerprints": [
            {"algorithm": fingerprint.algorithm, "items": fingerprint.items, "hop_s": fingerprint.hop_s}
            for fingerprint in (analysis.fingerprint, analysis.peaks, analysis.beat_chroma)
        ],
        "track_stages": [vars(stage) | {"run_id": run_id} for stage in analysis.stages],
    }
    return {table: [base | row for row in found] for table, found in rows.items()}


def select_rows(made: dict[str, list[dict]], stages: Collection[str], before: dict | None) -> dict[str, list[dict]]:
    """What of a track's rows these stages have written.

    Args:
        made: The rows of all stages.
        stages: The stages that ran.
        before: The track's row in the lake; None for a new one.
    """
    rows = {table: made[table] for table, writers in TABLE_STAGES.items() if writers & set(stages)}
    rows["track_stages"] = [row for row in made["track_stages"] if row["stage"] in stages]
    algorithms = {PRINTS[stage][0] for stage in PRINTS.keys() & set(stages)}
    rows["fingerprints"] = [row for row in made["fingerprints"] if row["algorithm"] in algorithms]
    (track,) = made["tracks"]
    if before:
        columns = set().union(*(TRACK_COLUMNS.get(stage, ()) for stage in stages))
        track = before | {name: value for name, value in track.items() if name in columns}
    return rows | {"tracks": [track]}


def _track_row(analysis: Analysis, job: TrackJob, now: datetime, user_id: str | None, privacy_setting: str) -> dict:
    info, rhythm = analysis.info, analysis.rhythm
    return {
        "file_hash": job.file_hash,
        "duration_s": analysis.duration_s,
        "codec": info.codec,
        "sample_rate_hz": info.sample_rate_hz,
        "channels": info.channels,
        "title": info.title,
        "artist": info.artist,
        "album": info.album,
        "genre_tag": info.genre_tag,
        "tempo_bpm": rhythm.tempo_bpm,
        "tempo_confidence": rhythm.tempo_confidence,
        "tempo_alternative_bpm": rhythm.tempo_alternative_bpm,
        "time_signature": rhythm.time_signature,
        "time_signature_confidence": rhythm.time_signature_confidence,
        "swing_ratio": rhythm.swing_ratio,
        "detected_key": analysis.key.detected_key,
        "key_confidence": analysis.key.key_confidence,
        "detected_genre": info.genre_tag.lower() if info.genre_tag else None,
        "genre_confidence": 1.0 if info.genre_tag else None,
        "genre_source": "tag" if info.genre_tag else None,
        "loudness_lufs": analysis.levels.loudness_lufs,
        "quality_score": analysis.quality_score,
        "user_id": user_id,
        "privacy_setting": privacy_setting,
        "upload_date": now,
    }


def _note_rows(analysis: Analysis) -> list[dict]:
    hits, bass = analysis.played.hits, analysis.played.bass
    struck = [
        {
            "instrument_type": str(instrument),
            "time_s": float(time_s),
            "duration_s": HIT_DURATION_S,
            "midi_note": midi_note_of(str(instrument)),
            "velocity": int(velocity),
            "confidence": float(confidence),
        }
        for time_s, instrument, velocity, confidence in zip(
            hits.time_s, hits.instrument, hits.velocity, hits.confidence, strict=True
        )
    ]
    return struck + [
        {
            "instrument_type": "bass",
            "time_s": float(time_s),
            "duration_s": float(duration_s),
            "midi_note": int(midi_note),
            "velocity": int(velocity),
            "confidence": float(confidence),
        }
        for time_s, duration_s, midi_note, velocity, confidence in zip(*vars(bass).values(), strict=True)
    ]


def _section_rows(analysis: Analysis, section_ids: list[str]) -> list[dict]:
    parts = analysis.sections
    return [
        {
            "section_id": section_id,
            "start_s": float(start_s),
            "end_s": float(end_s),
            "section_label": str(label),
            "confidence": None if np.isnan(confidence) else float(confidence),
            "tempo_bpm": _section_tempo(analysis, index),
        }
        for index, (section_id, start_s, end_s, label, confidence) in enumerate(
            zip(section_ids, parts.start_s, parts.end_s, parts.section_label, parts.confidence, strict=True)
        )
    ]


def _section_tempo(analysis: Analysis, index: int) -> float | None:
    parts = analysis.sections
    return tempo_between(analysis.rhythm, float(parts.start_s[index]), float(parts.end_s[index]))


def _pattern_rows(analysis: Analysis, section_ids: list[str], now: datetime) -> list[dict]:
    return [
        {
            "pattern_id": make_id("pattern", section_ids[pattern.section], pattern.instrument_type),
            "section_id": section_ids[pattern.section],
            "instrument_type": pattern.instrument_type,
            "bars": pattern.bars,
            "steps_per_bar": pattern.steps_per_bar,
            "steps": pattern.steps,
            "groove": pattern.groove,
            "midi_data": json.dumps(pattern.midi_data),
            "midi": pattern.midi,
            "tempo_bpm": pattern.tempo_bpm,
            "time_signature": pattern.time_signature,
            "key_signature": analysis.key.detected_key,
            "fingerprint": pattern.fingerprint,
            "quality_score": pattern.quality_score,
            **vars(pattern.feel),
            "created_at": now,
        }
        for pattern in analysis.patterns
    ]
