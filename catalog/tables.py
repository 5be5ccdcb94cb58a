"""Every table of the lake, declared once. How a declaration is read is in catalog/schema.py.

Identifiers are version-5 UUIDs made from content (see `make_id`), so the same input always gives the same row. A
confidence lies in [0, 1]; a judgement is NULL where its method abstains.
"""

import uuid

from catalog.schema import Field, Table

NAMESPACE = uuid.UUID("6f0f6a3e-94c2-5d0c-8a55-6d6964696d65")


def make_id(kind: str, *parts: object) -> str:
    """The identifier of a thing of this kind that is made from these parts, as UUID text."""
    return str(uuid.uuid5(NAMESPACE, ":".join([kind, *map(str, parts)])))


CORPUS = Field("corpus", "VARCHAR", "The corpus that the track was first seen in.")
TRACK_ID = Field("track_id", "UUID", "The track: made from the SHA-256 of the file's bytes.")
RUN_ID = Field("run_id", "UUID", "The run that wrote the row.")

TRACKS = Table(
    "tracks",
    "one distinct audio content",
    (
        CORPUS,
        TRACK_ID,
        Field("file_hash", "VARCHAR", "SHA-256 of the file's bytes, in hexadecimal."),
        Field("duration_s", "DOUBLE", "Length of the decoded audio in seconds."),
        Field("codec", "VARCHAR", "Codec as FFmpeg names it, such as mp3 or flac."),
        Field("sample_rate_hz", "INTEGER", "Sample rate of the file."),
        Field("channels", "INTEGER", "Channels of the file."),
        Field("title", "VARCHAR", "Title from the file's tags; NULL without one."),
        Field("artist", "VARCHAR", "Artist from the file's tags; NULL without one."),
        Field("album", "VARCHAR", "Album from the file's tags; NULL without one."),
        Field("genre_tag", "VARCHAR", "Genre exactly as the file's tags say it; NULL without one."),
        Field(
            "tempo_bpm", "DOUBLE", "Tempo in beats a minute, from a regression through the beats; NULL without a pulse."
        ),
        Field("tempo_confidence", "FLOAT", "Confidence of tempo_bpm."),
        Field("tempo_alternative_bpm", "DOUBLE", "The other tempo that a listener might tap, often half or double."),
        Field("time_signature", "VARCHAR", "Meter such as 4/4 or 6/8; NULL where it cannot be told."),
        Field("time_signature_confidence", "FLOAT", "Confidence of time_signature."),
        Field(
            "swing_ratio",
            "FLOAT",
            "Length of the first half of a beat over the second: 1 is straight, 2 a full triplet.",
        ),
        Field("detected_key", "VARCHAR", "Key such as C minor; NULL where it cannot be told."),
        Field("key_confidence", "FLOAT", "Confidence of detected_key."),
        Field("detected_genre", "VARCHAR", "Genre in lower case; see genre_source for where it comes from."),
        Field("genre_confidence", "FLOAT", "Confidence of detected_genre: 1 for a tag, since the file says so itself."),
        Field("genre_source", "VARCHAR", "tag, or the model that heard it."),
        Field("loudness_lufs", "DOUBLE", "Integrated loudness after ITU-R BS.1770-4; NULL for silence."),
        Field(
            "quality_score", "FLOAT", "Fitness of the recording from 0 to 1: clipping, band limit, silence and noise."
        ),
        Field("user_id", "VARCHAR", "Owner of the track; NULL without one."),
        Field("privacy_setting", "VARCHAR", "public, or private: seen only by searches of the same user_id."),
        Field("upload_date", "TIMESTAMPTZ", "When the track was first committed to the lake."),
    ),
    key=("track_id",),
    partitioned=True,
)

FILES = Table(
    "files",
    "one place where a content was seen",
    (
        CORPUS,
        Field("uri", "VARCHAR", "The place, as a file URI (percent-encoded)."),
        TRACK_ID,
        Field("size_bytes", "BIGINT", "Size of the file."),
        Field("modified_at", "TIMESTAMPTZ", "Modification time of the file."),
        RUN_ID,
    ),
    key=("uri",),
    partitioned=True,
)

STEMS = Table(
    "stems",
    "one stem of a track",
    (
        CORPUS,
        TRACK_ID,
        Field("stem", "VARCHAR", "vocals, drums, bass, piano, other or accompaniment."),
        Field("uri", "VARCHAR", "The FLAC file, relative to the lake's folder; NULL when stems are not kept."),
        Field("sha256", "VARCHAR", "SHA-256 of the FLAC file; NULL when stems are not kept."),
        Field("size_bytes", "BIGINT", "Size of the FLAC file; NULL when stems are not kept, or of an older version."),
        Field("backend", "VARCHAR", "What separated it."),
        Field("rms_db", "FLOAT", "Root mean square level in dB below full scale; NULL for digital silence."),
        Field("duration_s", "DOUBLE", "Length in seconds."),
    ),
    key=("track_id", "stem"),
    partitioned=True,
)

ONSETS = Table(
    "onsets",
    "one onset in one stem",
    (
        CORPUS,
        TRACK_ID,
        Field("stem", "VARCHAR", "The stem it was heard in; mix when the track was not separated."),
        Field("time_s", "DOUBLE", "Time from the start of the track."),
        Field("strength", "FLOAT", "Height of the spectral flux peak over its surroundings."),
    ),
    key=("track_id", "stem", "time_s"),
    partitioned=True,
)

BEATS = Table(
    "beats",
    "one beat",
    (
        CORPUS,
        TRACK_ID,
        Field("time_s", "DOUBLE", "Time from the start of the track."),
        Field("beat_in_bar", "UTINYINT", "Position in the bar, 1 for the downbeat."),
    ),
    key=("track_id", "time_s"),
    partitioned=True,
)

NOTES = Table(
    "notes",
    "one drum hit or note",
    (
        CORPUS,
        TRACK_ID,
        Field("instrument_type", "VARCHAR", "kick, snare, hihat, tom, crash, ride or bass."),
        Field("time_s", "DOUBLE", "Time from the start of the track."),
        Field("duration_s", "DOUBLE", "Length of the note; nominal for drums."),
        Field("midi_note", "UTINYINT", "MIDI note number (60 = C4); for drums the General MIDI percussion key."),
        Field("velocity", "UTINYINT", "MIDI velocity from 1 to 127."),
        Field(
            "confidence",
            "FLOAT",
            "Confidence that the hit is there and of this instrument, or that the note has this pitch.",
        ),
    ),
    key=("track_id", "instrument_type", "time_s"),
    partitioned=True,
)

SECTIONS = Table(
    "sections",
    "one section of a track",
    (
        CORPUS,
        Field("section_id", "UUID", "The section: made from its track and place."),
        TRACK_ID,
        Field("start_s", "DOUBLE", "Start from the start of the track."),
        Field("end_s", "DOUBLE", "End from the start of the track."),
        Field("section_label", "VARCHAR", "intro, verse, chorus, bridge, outro or other."),
        Field("confidence", "FLOAT", "Confidence of the label."),
        Field("tempo_bpm", "DOUBLE", "Tempo of the section, through its own beats; NULL without a pulse."),
    ),
    key=("section_id",),
    partitioned=True,
)

PATTERNS = Table(
    "patterns",
    "one instrument's pattern in one section",
    (
        CORPUS,
        Field("pattern_id", "UUID", "The pattern: made from its section and instrument."),
        Field("section_id", "UUID", "The section it was folded from."),
        TRACK_ID,
        Field("instrument_type", "VARCHAR", "drums or bass."),
        Field("bars", "UTINYINT", "Bars of the folded pattern."),
        Field("steps_per_bar", "UTINYINT", "Steps a bar is divided into: 16 in 4/4."),
        Field(
            "steps",
            "FLOAT[]",
            "Velocity of each step from 0 to 1; of drums kick's bars, then those of snare, hihat, tom and ride.",
        ),
        Field(
            "groove",
            "VARCHAR",
            "The steps in words, x for a drum, a digit for a bass note (its semitones above the main note): equal "
            "patterns have equal words. midime search takes them.",
        ),
        Field(
            "midi_data",
            "VARCHAR",
            "JSON: hit times of each drum, or of bass with duration_s and midi_note; seconds from start_s.",
        ),
        Field("midi", "BLOB", "The bytes of a Standard MIDI File of the section as it was played."),
        Field(
            "tempo_bpm",
            "DOUBLE",
            "Tempo of the section, in beats of time_signature; of a short drum loop too, whose track has none.",
        ),
        Field(
            "time_signature",
            "VARCHAR",
            "Meter of the bars it is folded in: the track's, but 4/4 where drums play and another is not beyond doubt.",
        ),
        Field("key_signature", "VARCHAR", "Key of the track; NULL where it cannot be told."),
        Field(
            "fingerprint",
            "FLOAT[]",
            "The vector: 96 numbers of unit length, see tasks/music/vectors.py and basslines.py; of drums also what is "
            "heard faintly, and when anything is struck.",
        ),
        Field(
            "quality_score",
            "FLOAT",
            "From 0 to 1: how regular the pattern is and how sure its hits, and the tempo where the track has none.",
        ),
        Field(
            "swing_ratio",
            "FLOAT",
            "As tracks.swing_ratio, from the section's own hits or notes; NULL with few between the beats and in 6/8.",
        ),
        Field(
            "microtiming_ms",
            "FLOAT",
            "Mean distance from a grid that swings and goes through the drum hits on the beats, more than 0: late; "
            "of bass, how far it lies behind the drums. NULL with fewer than 16 notes on the grid.",
        ),
        Field("microtiming_spread_ms", "FLOAT", "Standard deviation of that distance: small for machines."),
        Field("created_at", "TIMESTAMPTZ", "When the pattern was committed."),
    ),
    key=("pattern_id",),
    partitioned=True,
)

FINGERPRINTS = Table(
    "fingerprints",
    "one acoustic fingerprint, of the whole length",
    (
        CORPUS,
        TRACK_ID,
        Field("algorithm", "VARCHAR", "Algorithm and version that made the items."),
        Field(
            "items",
            "UINTEGER[]",
            "Chromaprint: one item a hop. Peaks: one a peak, its hop and 9 bits of pitch, ninths of a semitone. Beat "
            "chroma: see tasks/music/beatchroma.py.",
        ),
        Field("hop_s", "DOUBLE", "Seconds of a hop."),
    ),
    key=("track_id", "algorithm"),
    partitioned=True,
)

TRACK_STAGES = Table(
    "track_stages",
    "one stage of one track",
    (
        CORPUS,
        TRACK_ID,
        Field("stage", "VARCHAR", "Station of the path, such as decode, separate or beats."),
        Field("stage_version", "VARCHAR", "Method and version that wrote the rows."),
        Field("backend", "VARCHAR", "What ran it: a library or a network."),
        Field("seconds", "DOUBLE", "Time spent in the stage."),
        Field("peak_rss_mb", "DOUBLE", "Highest resident memory of the worker by the end of the stage."),
        RUN_ID,
    ),
    key=("track_id", "stage"),
    partitioned=True,
)

MATCHES = Table(
    "matches",
    "evidence that two tracks share audio",
    (
        Field("track_id_1", "UUID", "The smaller identifier of the two."),
        Field("track_id_2", "UUID", "The larger identifier of the two."),
        Field("method", "VARCHAR", "How the evidence was found."),
        Field("method_version", "VARCHAR", "Version of the method."),
        Field("score", "FLOAT", "Strength of the evidence from 0 to 1."),
        Field("overlap_s", "DOUBLE", "Length of the audio that both share, in track 1."),
        Field("offset_s", "DOUBLE", "Where the start of track 2 lies in track 1; negative when it starts before."),
        Field("speed_ratio", "DOUBLE", "Speed of track 2 over track 1."),
        Field("pitch_semitones", "DOUBLE", "How much higher track 2 sounds than track 1."),
        Field("sounding_1_s", "DOUBLE", "Length of track 1 without silence at its ends."),
        Field("sounding_2_s", "DOUBLE", "Length of track 2 without silence at its ends."),
    ),
    key=("track_id_1", "track_id_2", "method"),
)

SONG_GROUPS = Table(
    "song_groups",
    "the verdict which song a track belongs to",
    (
        TRACK_ID,
        Field("source_song_id", "UUID", "The song: the same for every track of a group."),
        Field("relation", "VARCHAR", "same, excerpt, transformed, version or unique."),
        Field(
            "parent_track_id",
            "UUID",
            "The track that it is a copy, an excerpt or a version of; NULL for the first of a song.",
        ),
        Field("offset_s", "DOUBLE", "Where the track starts in parent_track_id; NULL without one."),
        Field("speed_ratio", "DOUBLE", "Speed of the track over that of parent_track_id; NULL without one."),
        Field("evidence", "VARCHAR", "Hash of what the verdict rests on: when that changes, it is made again."),
        Field("decided_at", "TIMESTAMPTZ", "When the verdict was made."),
        RUN_ID,
    ),
    key=("track_id",),
)

SONG_OVERRIDES = Table(
    "song_overrides",
    "a person's word on two tracks, which no run overrules",
    (
        Field("track_id_1", "UUID", "The smaller identifier of the two."),
        Field("track_id_2", "UUID", "The larger identifier of the two."),
        Field("decision", "VARCHAR", "merge: they are one song; split: they are not."),
        Field("note", "VARCHAR", "Why; NULL when nothing was said."),
        Field("decided_at", "TIMESTAMPTZ", "When it was said."),
    ),
    key=("track_id_1", "track_id_2"),
)

PATTERN_SIMILARITIES = Table(
    "pattern_similarities",
    "a precomputed neighbour of a pattern",
    (
        Field("similarity_id", "UUID", "The pair: made from both patterns."),
        Field("pattern_id_1", "UUID", "The pattern asked for."),
        Field("pattern_id_2", "UUID", "Its neighbour."),
        Field("similarity_score", "FLOAT", "Cosine of the two rhythm vectors."),
        Field("instrument_type", "VARCHAR", "drums."),
        Field("computed_at", "TIMESTAMPTZ", "When it was computed."),
        Field("index_version", "VARCHAR", "The index it was computed with."),
    ),
    key=("similarity_id",),
)

INDEX_VERSIONS = Table(
    "index_versions",
    "one build of a FAISS index",
    (
        Field("index_version", "VARCHAR", "Name of the build."),
        Field("instrument_type", "VARCHAR", "The patterns it holds."),
        Field("kind", "VARCHAR", "FAISS factory string, such as Flat or HNSW32."),
        Field("vectors", "BIGINT", "Vectors in the index."),
        Field("dimensions", "INTEGER", "Numbers in a vector."),
        Field("recall_at_10", "FLOAT", "Share of the exact ten nearest that the index finds, on a sample."),
        Field("uri", "VARCHAR", "The index file, relative to the lake's folder."),
        Field("sha256", "VARCHAR", "SHA-256 of the index file."),
        Field("size_bytes", "BIGINT", "Size of the index file; NULL of an older version."),
        Field("lake_snapshot", "BIGINT", "The lake's snapshot that it was built from."),
        Field("built_at", "TIMESTAMPTZ", "When it was built."),
    ),
    key=("index_version",),
)

REJECTS = Table(
    "rejects",
    "a file that could not be taken, or a stage that failed",
    (
        CORPUS,
        Field("uri", "VARCHAR", "The file, as a file URI (percent-encoded)."),
        Field("file_hash", "VARCHAR", "SHA-256 of the file; NULL when it could not be read."),
        Field("size_bytes", "BIGINT", "Size of the file; NULL when it could not be read."),
        Field("modified_at", "TIMESTAMPTZ", "Modification time of the file; NULL when it could not be read."),
        Field("stage", "VARCHAR", "The station that gave up."),
        Field("stage_version", "VARCHAR", "Its version: a newer one tries again."),
        Field("reason", "VARCHAR", "The fault, from the fixed list in tasks/errors.py."),
        Field("message", "VARCHAR", "The fault in a sentence."),
        Field(
            "failed",
            "BOOLEAN",
            "True where the analysis or reading failed, false where the content is at fault.",
        ),
        Field(
            "limit_value",
            "DOUBLE",
            "The limit that kept it out, in seconds or in megabytes of memory; a higher one tries again.",
        ),
        Field("attempts", "INTEGER", "How often this content was tried."),
        RUN_ID,
        Field("rejected_at", "TIMESTAMPTZ", "When it was tried last."),
    ),
    key=("uri",),
)

RUNS = Table(
    "runs",
    "one flow run",
    (
        RUN_ID,
        Field("flow", "VARCHAR", "ingest, nightly or verify."),
        Field("parameters", "VARCHAR", "The parameters as JSON."),
        Field("started_at", "TIMESTAMPTZ", "When it started."),
        Field("ended_at", "TIMESTAMPTZ", "When it ended, or was last heard of when it was lost; NULL while it runs."),
        Field(
            "state",
            "VARCHAR",
            "running, completed, failed, stopped (by Ctrl-C or SIGTERM), or lost (its process died without a word).",
        ),
        Field("message", "VARCHAR", "Why the run did not complete, in a sentence; NULL for others."),
        Field("tracks_planned", "BIGINT", "Contents that the run set out to analyse; NULL before the plan is made."),
        Field("files_seen", "BIGINT", "Audio files looked at: new + unchanged + duplicate + rejected + failed."),
        Field("files_new", "BIGINT", "Files whose content this run analysed."),
        Field("files_unchanged", "BIGINT", "Files already in the lake."),
        Field("files_duplicate", "BIGINT", "Files whose content is in the lake, or in this run, from another place."),
        Field("files_rejected", "BIGINT", "Files that cannot be used; each has a row in rejects."),
        Field(
            "files_failed",
            "BIGINT",
            "Files whose analysis or reading failed; each has a row in rejects.",
        ),
        Field("files_ignored", "BIGINT", "Files that are no audio by their name; not in files_seen."),
        Field("audio_s", "DOUBLE", "Seconds of audio analysed."),
        Field("code_version", "VARCHAR", "Version of MiDiMe."),
    ),
    key=("run_id",),
)

DATA_FILES = Table(
    "data_files",
    "one Parquet file of the lake as it was committed, for midime verify",
    (
        Field("uri", "VARCHAR", "The file, relative to the lake's folder."),
        Field("table_name", "VARCHAR", "The table whose rows it holds."),
        Field("rows", "BIGINT", "Rows in the file."),
        Field("size_bytes", "BIGINT", "Size of the file."),
        Field("sha256", "VARCHAR", "SHA-256 of the file."),
        Field("recorded_at", "TIMESTAMPTZ", "When it was recorded."),
    ),
    key=("uri",),
)

TRACK_TABLES = (TRACKS, STEMS, ONSETS, BEATS, NOTES, SECTIONS, PATTERNS, FINGERPRINTS, TRACK_STAGES)
"""What the analysis of one track writes: all of it is replaced when the track is analysed again."""

TABLES = (
    *TRACK_TABLES,
    FILES,
    MATCHES,
    SONG_GROUPS,
    SONG_OVERRIDES,
    PATTERN_SIMILARITIES,
    INDEX_VERSIONS,
    REJECTS,
    RUNS,
    DATA_FILES,
)
BY_NAME = {table.name: table for table in TABLES}
