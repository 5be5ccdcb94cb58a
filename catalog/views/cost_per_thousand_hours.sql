-- What does it cost to analyse a thousand hours of audio at this price of a worker's hour? (One row is a run; the hours
-- are those that its workers were busy.)
CREATE OR REPLACE MACRO cost_per_thousand_hours(price_per_worker_hour := 0.05) AS TABLE
WITH spent AS (
    SELECT run_id, track_id, sum(seconds) AS seconds FROM track_stages GROUP BY run_id, track_id
)
SELECT
    run_id,
    any_value(runs.started_at) AS started_at,
    sum(seconds) / 3600 AS worker_h,
    sum(duration_s) / 3600 AS audio_h,
    worker_h / nullif(audio_h, 0) * 1000 AS worker_h_per_thousand_h,
    worker_h_per_thousand_h * price_per_worker_hour AS cost
FROM spent
JOIN tracks USING (track_id)
JOIN runs USING (run_id)
GROUP BY run_id
ORDER BY started_at DESC
