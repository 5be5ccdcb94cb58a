-- Which runs that used to come regularly have not come? (One row is a flow, or the ingest of a corpus. Regular: half of
-- its last fourteen gaps lie within half and one and a half times their median, which is an hour at least. Late: half a
-- median later than the longest of them allows; after thirty medians it counts as given up.)
CREATE OR REPLACE VIEW late_runs AS
WITH starts AS (
    SELECT
        flow,
        corpus,
        run_id,
        started_at,
        epoch(started_at - lag(started_at) OVER by_start) AS gap_s,
        row_number() OVER (PARTITION BY flow, corpus ORDER BY started_at DESC, run_id DESC) AS place
    FROM runs
    LEFT JOIN run_corpora USING (run_id)
    WINDOW by_start AS (PARTITION BY flow, corpus ORDER BY started_at, run_id)
),
habits AS (
    SELECT
        flow,
        corpus,
        arg_max(run_id, started_at) AS run_id,
        max(started_at) AS last_started_at,
        median(gap_s) AS usual_gap_s,
        max(gap_s) AS longest_gap_s
    FROM starts
    WHERE place <= 14
    GROUP BY flow, corpus
    HAVING count(gap_s) >= 5
        AND usual_gap_s >= 3600
        AND quantile_cont(gap_s, 0.25) >= 0.5 * usual_gap_s
        AND quantile_cont(gap_s, 0.75) <= 1.5 * usual_gap_s
)
SELECT
    flow,
    corpus,
    run_id,
    last_started_at,
    usual_gap_s / 3600 AS usual_gap_h,
    last_started_at + to_seconds(longest_gap_s + 0.5 * usual_gap_s) AS late_since
FROM habits
WHERE now() > late_since AND now() < last_started_at + to_seconds(30 * usual_gap_s)
