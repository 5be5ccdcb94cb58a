-- How fast was each ingest, and how fast compared with the ten before it? (One row is an ingest that analysed tracks.)
CREATE OR REPLACE VIEW run_throughput AS
WITH speeds AS (
    SELECT
        run_id,
        corpora,
        started_at,
        files_new AS tracks,
        audio_h,
        audio_h * 3600 / nullif(wall_s, 0) AS realtime_ratio,
        files_new * 3600 / nullif(wall_s, 0) AS tracks_per_hour
    FROM run_history
    WHERE flow = 'ingest' AND files_new > 0 AND wall_s > 0
),
compared AS (
    SELECT
        *,
        median(realtime_ratio) OVER (
            PARTITION BY corpora ORDER BY started_at, run_id ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING
        ) AS usual_realtime_ratio
    FROM speeds
)
SELECT *, realtime_ratio / nullif(usual_realtime_ratio, 0) AS relative_speed FROM compared
