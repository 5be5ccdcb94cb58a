-- Which corpora did each run look at? (One row is a run and a corpus; from its sources, its files and its rejects.)
CREATE OR REPLACE VIEW run_corpora AS
WITH asked AS (
    SELECT
        run_id,
        parameters->>'corpus' AS corpus,
        unnest(from_json(parameters->'sources', '["VARCHAR"]')) AS source
    FROM runs
    WHERE flow = 'ingest' AND json_array_length(parameters->'sources') > 0
)
SELECT run_id, coalesce(corpus, regexp_extract(source, '([^/]+)/*$', 1)) AS corpus
FROM asked
WHERE corpus IS NOT NULL OR NOT regexp_matches(source, '\.\w{2,5}$')  -- a single file's corpus shows in its rows
UNION
SELECT run_id, corpus FROM files
UNION
SELECT run_id, corpus FROM rejects
UNION
SELECT run_id, corpus FROM track_stages
