-- Where do the seconds of a run go, stage by stage, and which stage has become slow? (One row is a stage of a run in one
-- corpus, or in all of them where corpus is NULL. Slow: twice the usual seconds for an hour of audio, over ten tracks.)
CREATE OR REPLACE VIEW stage_seconds AS
WITH measured AS (
    SELECT
        track_stages.run_id,
        track_stages.corpus,
        track_stages.stage,
        count(*) AS tracks,
        sum(seconds) AS seconds,
        quantile_cont(seconds, 0.5) AS p50_s,
        quantile_cont(seconds, 0.95) AS p95_s,
        sum(seconds) / sum(duration_s) * 3600 AS seconds_per_audio_hour
    FROM track_stages
    JOIN tracks USING (track_id)
    GROUP BY GROUPING SETS (
        (track_stages.run_id, track_stages.corpus, track_stages.stage), (track_stages.run_id, track_stages.stage)
    )
),
compared AS (
    SELECT
        measured.*,
        runs.started_at,
        seconds / nullif(sum(seconds) OVER (PARTITION BY run_id, measured.corpus), 0) AS share,
        median(seconds_per_audio_hour) OVER (
            PARTITION BY measured.corpus, stage
            ORDER BY runs.started_at, run_id
            ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING
        ) AS usual_seconds_per_audio_hour
    FROM measured
    JOIN runs USING (run_id)
)
SELECT
    *,
    seconds_per_audio_hour / nullif(usual_seconds_per_audio_hour, 0) AS relative_time,
    coalesce(relative_time >= 2 AND tracks >= 10 AND share >= 0.05, false) AS slow
FROM compared
