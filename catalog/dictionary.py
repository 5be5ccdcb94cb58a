"""The data dictionary: every table and view with its columns, their types and what they mean.

The tables say it themselves (catalog/tables.py); here is what the columns of views mean that no table has.
"""

import re

import duckdb

from catalog.tables import TABLES
from catalog.views import load_questions, load_views

MEANINGS = {
    "age_h": "Hours since it was built.",
    "audio_h": "Hours of audio.",
    "corpora": "The corpora that the run looked at, by name; empty for nightly and verify.",
    "corpus": "The corpus.",
    "drifted": "Whether psi is above 0.25 and above psi_by_chance: that raises an alarm.",
    "examples": "Up to five of the files.",
    "example_message": "The fault of the first of them, in a sentence.",
    "expected_end_at": "When it will have ended at the pace so far; NULL before the first commit.",
    "file": "The file's path.",
    "files": "Number of files.",
    "files_not_in": "Files that are not in the lake: rejected or failed, as tried last.",
    "files_unaccounted": "files_seen less new, unchanged, duplicate, rejected and failed: 0, or something is wrong.",
    "files_without_size": "Files whose size is not known, since an older version wrote them; not in size_bytes.",
    "fresh": "Whether the index holds exactly the patterns of the lake, with all their facts.",
    "instrument_type": "drums or bass.",
    "is_open": "Whether it still stands: no later run of its flow has looked at the corpus, or the lake is still so.",
    "last_at": "When the last of them was tried.",
    "last_commit_at": "When the run last committed something, or started.",
    "last_looked_at": "When the newest ingest of it started.",
    "last_new_at": "When its newest track was committed.",
    "last_started_at": "When the last one started.",
    "last_state": "How the newest ingest of it ended; see runs.state.",
    "late_since": "Since when the next one is late.",
    "left_s": "Seconds until it has ended at the pace so far.",
    "measure": "The column of tracks that is looked at, such as tempo_bpm.",
    "most_changed_value": "The value or range whose share has changed most.",
    "p50_s": "Seconds for a track: half of the tracks took less.",
    "p95_s": "Seconds for a track: 95 of 100 tracks took less.",
    "patterns": "Number of patterns.",
    "patterns_newer": "Patterns that were made since the index was built.",
    "place": "Where the value stands in order: the lower end of a range; NULL for names.",
    "psi": "Population stability index: 0 where nothing has changed, 0.25 its accustomed limit.",
    "psi_by_chance": "What psi reaches in one of 10,000 runs by chance alone; it is higher for small runs.",
    "raised_at": "When it was noticed.",
    "realtime_ratio": "Hours of audio analysed in an hour: × real time.",
    "relative_speed": "realtime_ratio over usual_realtime_ratio: below 1 is slower than usual.",
    "relative_time": "seconds_per_audio_hour over the usual: above 1 is slower than usual.",
    "run_id": "The run.",
    "section": "Label of the section; see sections.section_label.",
    "seconds_per_audio_hour": "Seconds of work for an hour of audio.",
    "severity": "alarm, or warning.",
    "share": "Share from 0 to 1.",
    "slow": "Whether it took twice the usual time, over ten tracks and 5 % of the work: that raises an alarm.",
    "song_id": "The section: sections.section_id.",
    "songs": "Number of songs: recordings of one song count once.",
    "table_bytes": "Bytes of the Parquet files of all tables.",
    "tempo_bpm": "Tempo of the section in beats a minute.",
    "total_bytes": "Bytes of tables, stems and search indexes together.",
    "tracks": "Number of tracks.",
    "tracks_analysed": "Tracks that are committed.",
    "tracks_before": "Tracks of the ten runs of the corpus before it.",
    "tracks_excerpt": "Tracks that are a part of another.",
    "tracks_given_up": "Tracks that were rejected or failed.",
    "tracks_left": "Tracks still to be done.",
    "tracks_other": "Tracks that are another kind of copy; see song_groups.relation.",
    "tracks_per_hour": "Tracks analysed in an hour.",
    "tracks_same": "Tracks that are another copy of the same recording.",
    "tracks_undecided": "Tracks that nightly has not looked at yet.",
    "tracks_unique": "Tracks of which there is no copy.",
    "usual_gap_h": "Hours that usually lie between two of them.",
    "usual_realtime_ratio": "Median of realtime_ratio over the ten runs of the same corpora before it.",
    "usual_seconds_per_audio_hour": "Median of seconds_per_audio_hour over the ten runs of the corpus before it.",
    "verdict": "rejected: the file is at fault; failed: the analysis or the reading is.",
    "wall_s": "Seconds from the start of the run to its end.",
    "worker_h": "Hours that workers were busy.",
    "alarms.corpus": "The corpus; NULL where it is about the lake or all corpora.",
    "alarms.kind": "What is wrong in two words, such as failed run, drift or stale index.",
    "alarms.message": "What is wrong, in a sentence.",
    "alarms.run_id": "The run that it is about; NULL where there is none.",
    "common_grooves.best_pattern_id": "The pattern of the highest quality: the one to listen to.",
    "common_grooves.highest_tempo_bpm": "Highest tempo in beats a minute.",
    "common_grooves.lowest_tempo_bpm": "Lowest tempo in beats a minute.",
    "common_grooves.median_tempo_bpm": "Middle tempo in beats a minute.",
    "common_grooves.most_frequent_genre": "The genre that most of them have.",
    "corpus_freshness.source_bytes": "Bytes of the music files themselves, which lie outside of the lake.",
    "cost_per_thousand_hours.cost": "Price of a thousand hours of audio, in the money of price_per_worker_hour.",
    "cost_per_thousand_hours.worker_h_per_thousand_h": "Hours of a worker for a thousand hours of audio.",
    "duplicates_found.copied_files": "Files whose bytes are those of another file.",
    "failed_files.size_bytes": "Size of the file; NULL when it could not be read.",
    "failed_files.uri": "The file, as a file URI (percent-encoded).",
    "index_contents.contents": "A number that changes with every fact of a pattern.",
    "index_health.index_version": "Name of the build; NULL when there is no index yet.",
    "late_runs.corpus": "The corpus; NULL for flows of the whole lake.",
    "late_runs.run_id": "The last run that came.",
    "run_history.message": "Why the run did not complete, in a sentence; NULL for others.",
    "searchable_patterns.detected_key": "Key of the pattern, or else of its track.",
    "searchable_patterns.quality_score": "Fitness of the pattern from 0 to 1; see patterns.quality_score.",
    "searchable_patterns.song_start_s": "Start of the section in its song, equal in all copies; NULL where not known.",
    "searchable_patterns.vector": "patterns.fingerprint in DuckDB's type for distances.",
    "similar_patterns.similarity_score": "Cosine similarity, at the best shift of the two bars; 1 is the same.",
    "songs.audio_fingerprint": "fingerprints.items of the whole track.",
    "songs.duration": "Length of the section in seconds.",
    "songs.tempo": "Tempo of the section in beats a minute.",
    "stage_seconds.corpus": "The corpus; NULL in the rows of all corpora together.",
    "stage_seconds.seconds": "Seconds of work, over all tracks and workers.",
    "stage_seconds.share": "Share of the run's work, from 0 to 1.",
    "storage_by_kind.corpus": "The corpus; NULL for files of all corpora.",
    "storage_by_kind.kind": "tables, stems or search indexes.",
    "storage_by_kind.size_bytes": "Bytes of these files.",
    "storage_by_table.corpus": "The corpus; NULL where the table is not cut by corpus.",
    "storage_by_table.rows": "Rows in these files.",
    "storage_by_table.size_bytes": "Bytes of these files.",
    "storage_by_table.table_name": "The table.",
    "value_distributions.share": "Share of the tracks of the run, from 0 to 1.",
    "value_distributions.tracks": "Tracks with this value.",
    "value_distributions.value": "The value, or the range; none where the method abstains.",
    "value_drift.share": "Its share of the tracks of this run, from 0 to 1.",
    "value_drift.share_before": "Its share of the tracks of the ten runs before.",
}
"""By the column's name, or by view.column where it means another thing in that view."""


def describe_views() -> dict[str, list[tuple[str, str, str]]]:
    """The columns of every view and macro: name, type and meaning.

    Raises:
        KeyError: Nobody has said what a column means.
    """
    inherited = {field.name: field.meaning for table in reversed(TABLES) for field in table.fields}
    views = {}
    with duckdb.connect() as connection:
        for table in TABLES:
            columns = ", ".join(f'"{field.name}" {field.sql_type}' for field in table.fields)
            connection.execute(f"CREATE TABLE {table.name} ({columns})")
        for statement in load_views():
            connection.execute(statement)
            name, parameters = re.search(r"(?:VIEW|MACRO) (\w+)(\([^)]*\))?", statement).groups()
            call = f"{name}({'NULL' if ':=' not in parameters.split(',')[0] else ''})" if parameters else name
            views[name] = [
                (column, sql_type.replace(" WITH TIME ZONE", "TZ"), _find_meaning(name, column, inherited))
                for column, sql_type, *_ in connection.execute(f"DESCRIBE FROM {call}").fetchall()
            ]
    return dict(sorted(views.items()))


def write_dictionary() -> str:
    """The data dictionary as Markdown; kept in catalog/dictionary.md, made by `make dictionary`."""
    head = (
        "# Data dictionary\n\nMade from the declarations in catalog/tables.py and catalog/views by `make dictionary`;"
        " `midime tables` prints it. First the tables, then the [views](#views-and-macros) that answer questions.\n"
    )
    questions = load_questions()
    views = [
        f"### {name}\n\n{questions[name]}\n\n| column | type | meaning |\n|---|---|---|\n"
        + "".join(f"| `{column}` | {sql_type} | {meaning} |\n" for column, sql_type, meaning in columns)
        for name, columns in describe_views().items()
    ]
    return "\n".join([head, *(table.to_markdown() for table in TABLES), "## Views and macros\n", *views])


def _find_meaning(view: str, column: str, inherited: dict[str, str]) -> str:
    for meaning in (MEANINGS.get(f"{view}.{column}"), MEANINGS.get(column), inherited.get(column)):
        if meaning:
            return meaning
    raise KeyError(f"catalog/dictionary.py does not say what {view}.{column} means.")


if __name__ == "__main__":
    print(write_dictionary(), end="")
