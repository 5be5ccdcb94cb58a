-- How many copies and excerpts were found, by corpus? (One row is a corpus. A track that nightly has not looked at yet counts as
-- a song of its own.)
CREATE OR REPLACE VIEW duplicates_found AS
WITH places AS (
    SELECT corpus, count(*) - count(DISTINCT track_id) AS copied_files FROM files GROUP BY corpus
),
verdicts AS (
    SELECT
        corpus,
        count(*) AS tracks,
        count(DISTINCT coalesce(source_song_id, track_id)) AS songs,
        count(*) FILTER (relation = 'unique') AS tracks_unique,
        count(*) FILTER (relation = 'same') AS tracks_same,
        count(*) FILTER (relation = 'excerpt') AS tracks_excerpt,
        count(*) FILTER (relation NOT IN ('unique', 'same', 'excerpt')) AS tracks_other,
        count(*) FILTER (source_song_id IS NULL) AS tracks_undecided
    FROM tracks
    LEFT JOIN song_groups USING (track_id)
    GROUP BY corpus
)
SELECT verdicts.*, coalesce(places.copied_files, 0) AS copied_files
FROM verdicts
LEFT JOIN places USING (corpus)
