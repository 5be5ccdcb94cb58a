-- What is being ingested now, how much is committed and left, and until when? (One row is an ingest that has not ended. One
-- that was killed stays here until the next run, or midime verify --repair, closes it as lost.)
CREATE OR REPLACE VIEW running_ingests AS
WITH analysed AS (
    SELECT run_id, count(DISTINCT track_id) AS tracks, max(upload_date) AS last_at
    FROM track_stages
    JOIN tracks USING (track_id)
    GROUP BY run_id
),
given_up AS (
    SELECT run_id, count(DISTINCT coalesce(file_hash, uri)) AS tracks, max(rejected_at) AS last_at
    FROM rejects
    WHERE stage <> 'plan'
    GROUP BY run_id
),
progress AS (
    SELECT
        runs.run_id,
        runs.started_at,
        runs.tracks_planned,
        coalesce(analysed.tracks, 0) AS tracks_analysed,
        coalesce(given_up.tracks, 0) AS tracks_given_up,
        greatest(runs.started_at, analysed.last_at, given_up.last_at) AS last_commit_at
    FROM runs
    LEFT JOIN analysed USING (run_id)
    LEFT JOIN given_up USING (run_id)
    WHERE runs.flow = 'ingest' AND runs.state = 'running'
)
SELECT
    run_id,
    started_at,
    tracks_planned,
    tracks_analysed,
    tracks_given_up,
    tracks_planned - tracks_analysed - tracks_given_up AS tracks_left,
    last_commit_at,
    epoch(last_commit_at - started_at) / nullif(tracks_analysed + tracks_given_up, 0) * tracks_left AS left_s,
    last_commit_at + to_seconds(left_s) AS expected_end_at
FROM progress
