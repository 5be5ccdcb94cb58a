-- Which files are not in the lake, and why? (One row is a file, as it was tried last.)
CREATE OR REPLACE VIEW failed_files AS
SELECT
    run_id,
    corpus,
    url_decode(regexp_replace(uri, '^file://', '')) AS file,
    uri,
    stage,
    reason,
    CASE WHEN failed THEN 'failed' ELSE 'rejected' END AS verdict,
    message,
    attempts,
    size_bytes,
    rejected_at
FROM rejects
