-- Is everything in, and how fresh is each corpus? (One row is a corpus.)
CREATE OR REPLACE VIEW corpus_freshness AS
WITH looked AS (
    SELECT
        corpus,
        max(started_at) AS last_looked_at,
        arg_max(state, started_at) AS last_state
    FROM run_corpora
    JOIN runs USING (run_id)
    WHERE flow = 'ingest'
    GROUP BY corpus
),
contents AS (
    SELECT
        corpus,
        count(*) AS tracks,
        sum(duration_s) / 3600 AS audio_h,
        max(upload_date) AS last_new_at
    FROM tracks
    GROUP BY corpus
),
folded AS (
    SELECT corpus, count(*) AS patterns FROM patterns GROUP BY corpus
),
places AS (
    SELECT corpus, count(*) AS files, sum(size_bytes)::BIGINT AS source_bytes FROM files GROUP BY corpus
),
faults AS (
    SELECT corpus, count(*) AS files_not_in FROM rejects GROUP BY corpus
)
SELECT
    corpus,
    coalesce(files, 0) AS files,
    coalesce(files_not_in, 0) AS files_not_in,
    coalesce(tracks, 0) AS tracks,
    coalesce(audio_h, 0) AS audio_h,
    coalesce(patterns, 0) AS patterns,
    coalesce(source_bytes, 0) AS source_bytes,
    last_new_at,
    last_looked_at,
    last_state
FROM looked
FULL JOIN contents USING (corpus)
FULL JOIN folded USING (corpus)
FULL JOIN places USING (corpus)
FULL JOIN faults USING (corpus)
