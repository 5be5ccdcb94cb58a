-- How old and how good is each search index, and what has changed since it was built? (One row is an instrument.)
CREATE OR REPLACE VIEW index_health AS
WITH wanted AS (
    SELECT instrument_type, patterns, printf('%016x', contents) AS contents FROM index_contents
)
SELECT
    instrument_type,
    index_versions.index_version,
    index_versions.kind,
    index_versions.vectors,
    coalesce(wanted.patterns, 0) AS patterns,
    coalesce(contains(index_versions.index_version, wanted.contents), false) AS fresh,
    index_versions.recall_at_10,
    index_versions.built_at,
    epoch(now() - index_versions.built_at) / 3600 AS age_h,
    (
        SELECT count(*)
        FROM patterns
        WHERE patterns.instrument_type = index_versions.instrument_type
            AND len(patterns.fingerprint) > 0
            AND patterns.created_at > index_versions.built_at
    ) AS patterns_newer
FROM wanted
FULL JOIN index_versions USING (instrument_type)
