"""What must hold of any lake at any moment, whatever was killed: each query names the rows that break a rule."""

import duckdb

RULES = {
    "a value that is no number": """
        SELECT track_id FROM tracks WHERE NOT isfinite(duration_s) OR NOT isfinite(coalesce(loudness_lufs, 0))
            OR NOT isfinite(coalesce(tempo_bpm, 1)) OR NOT isfinite(coalesce(quality_score, 0))
        UNION ALL SELECT track_id FROM onsets WHERE NOT isfinite(time_s) OR NOT isfinite(strength)
    """,
    "a track of no length, or longer than six hours": """
        SELECT track_id FROM tracks WHERE duration_s <= 0 OR duration_s > 6 * 3600
    """,
    "a confidence outside of 0 to 1": """
        SELECT track_id FROM tracks WHERE NOT coalesce(tempo_confidence, 0) BETWEEN 0 AND 1
            OR NOT coalesce(key_confidence, 0) BETWEEN 0 AND 1 OR NOT coalesce(quality_score, 0) BETWEEN 0 AND 1
        UNION ALL SELECT track_id FROM notes WHERE NOT confidence BETWEEN 0 AND 1 OR NOT velocity BETWEEN 1 AND 127
    """,
    "a moment outside of its track": """
        SELECT track_id FROM (
            SELECT track_id, time_s FROM onsets UNION ALL SELECT track_id, time_s FROM beats
            UNION ALL SELECT track_id, time_s FROM notes UNION ALL SELECT track_id, end_s FROM sections
        ) JOIN tracks USING (track_id) WHERE time_s < -0.1 OR time_s > duration_s + 0.1
    """,
    "a section that ends before it starts": "SELECT section_id FROM sections WHERE end_s <= start_s",
    "a tag with control characters": """
        SELECT track_id FROM tracks
        WHERE regexp_matches(concat_ws('', title, artist, album, genre_tag), '[\\x00-\\x1f\\x7f]')
    """,
    "a table that knows a track which another does not": """
        SELECT track_id FROM tracks ANTI JOIN track_stages USING (track_id)
        UNION ALL SELECT track_id FROM track_stages ANTI JOIN tracks USING (track_id)
        UNION ALL SELECT track_id FROM fingerprints ANTI JOIN tracks USING (track_id)
        UNION ALL SELECT track_id FROM tracks ANTI JOIN fingerprints USING (track_id)
        UNION ALL SELECT track_id FROM files ANTI JOIN tracks USING (track_id)
        UNION ALL SELECT track_id FROM onsets ANTI JOIN tracks USING (track_id)
        UNION ALL SELECT track_id FROM stems ANTI JOIN tracks USING (track_id)
    """,
    "a track that lies in the lake twice": "SELECT track_id FROM tracks GROUP BY ALL HAVING count(*) > 1",
    "a content that lies in the lake twice": "SELECT file_hash FROM tracks GROUP BY ALL HAVING count(*) > 1",
    "a file that is taken with one content and rejected with another": """
        SELECT uri FROM files JOIN tracks USING (track_id) JOIN rejects USING (uri)
        WHERE rejects.file_hash <> tracks.file_hash
    """,
    "an onset that was written twice": """
        SELECT track_id FROM onsets GROUP BY track_id, stem, time_s HAVING count(*) > 1
    """,
    "a run whose counts do not add up": """
        SELECT run_id FROM runs
        WHERE files_seen <> files_new + files_unchanged + files_duplicate + files_rejected + files_failed
    """,
}


def find_broken_rules(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A sentence for each rule that the lake breaks, all read from one snapshot."""
    broken = []
    connection.execute("BEGIN")
    for rule, query in RULES.items():
        rows = connection.execute(query).fetchall()
        if rows:
            broken.append(f"{rule}: {len(rows)}, the first is {rows[0][0]}")
    connection.execute("COMMIT")
    return broken
