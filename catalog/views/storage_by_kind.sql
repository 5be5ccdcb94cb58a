-- How much space do tables, stems and search indexes take, by corpus? (One row is a kind of file in a corpus; corpus is NULL
-- where files are of all corpora. MIDI is inside of the table patterns. Files without a size are of an older version; files
-- that only older snapshots know, the indexes of acoustic fingerprints, and models are not counted.)
CREATE OR REPLACE VIEW storage_by_kind AS
SELECT 'tables' AS kind, corpus, sum(files)::BIGINT AS files, 0 AS files_without_size, sum(size_bytes)::BIGINT AS size_bytes
FROM storage_by_table
GROUP BY corpus
UNION ALL
SELECT
    'stems',
    corpus,
    count(*),
    count(*) FILTER (size_bytes IS NULL),
    coalesce(sum(size_bytes), 0)::BIGINT
FROM stems
WHERE uri IS NOT NULL
GROUP BY corpus
UNION ALL
SELECT
    'search indexes',
    NULL,
    count(*),
    count(*) FILTER (size_bytes IS NULL),
    coalesce(sum(size_bytes), 0)::BIGINT
FROM index_versions
HAVING count(*) > 0
