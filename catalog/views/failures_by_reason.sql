-- Why do files fail, how many for each reason, and which for example? (One row is a reason in a stage, corpus and run.)
CREATE OR REPLACE VIEW failures_by_reason AS
SELECT
    run_id,
    corpus,
    verdict,
    reason,
    stage,
    count(*) AS files,
    max(rejected_at) AS last_at,
    any_value(message ORDER BY uri) AS example_message,
    list(file ORDER BY uri)[:5] AS examples
FROM failed_files
GROUP BY run_id, corpus, verdict, reason, stage
