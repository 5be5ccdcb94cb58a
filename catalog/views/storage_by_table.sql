-- How much space does each table take, by corpus? (One row is a table in a corpus; corpus is NULL where a table has none.)
CREATE OR REPLACE VIEW storage_by_table AS
SELECT
    table_name,
    nullif(url_decode(regexp_extract(uri, 'corpus=([^/]*)/', 1)), '') AS corpus,
    count(*) AS files,
    sum(rows)::BIGINT AS rows,
    sum(size_bytes)::BIGINT AS size_bytes
FROM data_files
GROUP BY ALL
