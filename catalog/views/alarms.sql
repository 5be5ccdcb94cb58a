-- What is wrong? (One row is an alarm. It is open until a later run of the same flow looked at the same corpus; alarms of
-- the lake as it stands, such as a stale index, are always open. Severity is alarm or warning.)
CREATE OR REPLACE VIEW alarms AS
WITH latest AS (
    SELECT flow, corpus, arg_max(run_id, started_at) AS run_id
    FROM runs
    LEFT JOIN run_corpora USING (run_id)
    GROUP BY flow, corpus
),
newest_nightly AS (
    SELECT * FROM run_history WHERE flow = 'nightly' ORDER BY started_at DESC LIMIT 1
),
of_runs AS (
    SELECT
        state || ' run' AS kind,
        'alarm' AS severity,
        run_id,
        unnest(CASE WHEN len(corpora) = 0 THEN [NULL] ELSE corpora END) AS corpus,
        ended_at AS raised_at,
        printf(
            'The %s run%s %s: %s',
            flow,
            CASE WHEN len(corpora) = 0 THEN '' ELSE ' of ' || array_to_string(corpora, ', ') END,
            CASE state WHEN 'failed' THEN 'failed' ELSE 'was lost' END,
            coalesce(message, 'no reason was recorded.')
        ) AS message
    FROM run_history
    WHERE state IN ('failed', 'lost')
    UNION ALL
    SELECT
        'counts',
        'alarm',
        run_id,
        unnest(corpora),
        ended_at,
        printf('The counts of a run do not add up: %d of %d files are unaccounted for.', files_unaccounted, files_seen)
    FROM run_history
    WHERE files_unaccounted <> 0
    UNION ALL
    SELECT
        'failed files',
        'warning',
        run_id,
        corpus,
        max(last_at),
        printf(
            '%d of the files of %s could not be analysed; %s: %s',
            sum(files)::BIGINT,
            corpus,
            arg_max(reason, files),
            arg_max(example_message, files)
        )
    FROM failures_by_reason
    WHERE verdict = 'failed'
    GROUP BY run_id, corpus
    UNION ALL
    SELECT
        'slow stage',
        'alarm',
        run_id,
        corpus,
        started_at,
        printf(
            'Stage %s took %.1f times its usual time in %s: %.0f s for an hour of audio instead of %.0f s.',
            stage,
            relative_time,
            corpus,
            seconds_per_audio_hour,
            usual_seconds_per_audio_hour
        )
    FROM stage_seconds
    WHERE slow AND corpus IS NOT NULL
    UNION ALL
    SELECT
        'drift',
        'alarm',
        run_id,
        corpus,
        started_at,
        printf(
            'The distribution of %s in %s has drifted (PSI %.2f): %s went from %.0f %% to %.0f %% of the tracks.',
            measure,
            corpus,
            psi,
            most_changed_value,
            100 * share_before,
            100 * share
        )
    FROM value_drift
    WHERE drifted
),
of_the_lake AS (
    SELECT
        'silent run' AS kind,
        'warning' AS severity,
        run_id,
        NULL AS corpus,
        last_commit_at AS raised_at,
        printf(
            'An ingest that started at %s has committed nothing for %.0f hours: it hangs, or it was killed.',
            strftime(started_at, '%Y-%m-%d %H:%M UTC'),
            epoch(now() - last_commit_at) / 3600
        ) AS message
    FROM running_ingests
    WHERE last_commit_at < now() - INTERVAL 6 HOUR
    UNION ALL
    SELECT
        'late run',
        'alarm',
        run_id,
        corpus,
        late_since,
        printf(
            'No %s run%s has started since %s, and they used to come every %.0f hours. Are the scheduler and a worker running?',
            flow,
            CASE WHEN corpus IS NULL THEN '' ELSE ' of ' || corpus END,
            strftime(last_started_at, '%Y-%m-%d %H:%M UTC'),
            usual_gap_h
        )
    FROM late_runs
    UNION ALL
    SELECT
        'stale index',
        'alarm',
        newest_nightly.run_id,
        NULL,
        coalesce(newest_nightly.ended_at, built_at),
        CASE
            WHEN index_version IS NULL THEN printf('There is no index of %s patterns. Run: midime nightly', instrument_type)
            ELSE printf(
                'The index of %s patterns is stale: it was built at %s with %d vectors, and the lake has %d patterns. '
                'Run: midime nightly',
                instrument_type,
                strftime(built_at, '%Y-%m-%d %H:%M UTC'),
                vectors,
                patterns
            )
        END
    FROM index_health
    LEFT JOIN newest_nightly ON true
    WHERE NOT fresh
        AND (
            newest_nightly.state = 'failed'
            OR newest_nightly.ended_at > (SELECT max(created_at) FROM patterns)
            OR (SELECT max(created_at) FROM patterns) < now() - INTERVAL 36 HOUR
        )
    UNION ALL
    SELECT
        'poor index',
        'alarm',
        NULL,
        NULL,
        built_at,
        printf('The index of %s patterns finds only %.0f %% of the ten nearest.', instrument_type, 100 * recall_at_10)
    FROM index_health
    WHERE recall_at_10 < 0.95
)
SELECT
    kind,
    severity,
    run_id,
    of_runs.corpus,
    raised_at,
    message,
    run_id IN (SELECT latest.run_id FROM latest WHERE latest.corpus IS NOT DISTINCT FROM of_runs.corpus) AS is_open
FROM of_runs
UNION ALL
SELECT *, true FROM of_the_lake
