-- Which runs were there, how did they end, and do their counts add up? (One row is one run.)
CREATE OR REPLACE VIEW run_history AS
WITH corpora AS (
    SELECT run_id, list(corpus ORDER BY corpus) AS corpora FROM run_corpora GROUP BY run_id
)
SELECT
    runs.run_id,
    runs.flow,
    runs.state,
    runs.message,
    runs.started_at,
    runs.ended_at,
    epoch(runs.ended_at - runs.started_at) AS wall_s,
    coalesce(corpora.corpora, []) AS corpora,
    runs.files_seen,
    runs.files_new,
    runs.files_unchanged,
    runs.files_duplicate,
    runs.files_rejected,
    runs.files_failed,
    runs.files_ignored,
    runs.files_seen - runs.files_new - runs.files_unchanged - runs.files_duplicate - runs.files_rejected
        - runs.files_failed AS files_unaccounted,
    runs.audio_s / 3600 AS audio_h,
    runs.code_version
FROM runs
LEFT JOIN corpora USING (run_id)
