-- How are tempo, key, genre, quality and confidence distributed in each run? (One row is a value or a range of values of a
-- measure, in a run and corpus; "none" counts the tracks where the method abstains. Ranges hold their lower end.)
CREATE OR REPLACE VIEW value_distributions AS
WITH heard AS (
    SELECT
        track_stages.run_id,
        track_stages.corpus,
        track_stages.stage,
        tempo_bpm,
        tempo_confidence,
        time_signature,
        detected_key,
        key_confidence,
        detected_genre,
        quality_score
    FROM track_stages
    JOIN tracks USING (track_id)
    WHERE stage IN ('beats', 'key', 'decode', 'quality')
),
ranges AS (
    SELECT run_id, corpus, 'tempo_bpm' AS measure, tempo_bpm AS x, 40 AS lowest, 200 AS highest, 20 AS width
    FROM heard
    WHERE stage = 'beats'
    UNION ALL
    SELECT run_id, corpus, 'tempo_confidence', tempo_confidence, 0, 0.8, 0.2 FROM heard WHERE stage = 'beats'
    UNION ALL
    SELECT run_id, corpus, 'key_confidence', key_confidence, 0, 0.8, 0.2 FROM heard WHERE stage = 'key'
    UNION ALL
    SELECT run_id, corpus, 'quality_score', quality_score, 0, 0.8, 0.2 FROM heard WHERE stage = 'quality'
),
binned AS (
    SELECT
        run_id,
        corpus,
        measure,
        width,
        CASE WHEN x < lowest THEN lowest WHEN x >= highest THEN highest ELSE floor(x / width) * width END AS low
    FROM ranges
),
valued AS (
    SELECT
        run_id,
        corpus,
        measure,
        CASE
            WHEN low IS NULL THEN 'none'
            WHEN width < 1 THEN printf('%.1f–%.1f', low, low + width)
            WHEN low = 40 THEN 'below 60'
            WHEN low = 200 THEN '200 and more'
            ELSE printf('%d–%d', low::INTEGER, (low + width)::INTEGER)
        END AS value,
        low AS place
    FROM binned
    UNION ALL
    SELECT run_id, corpus, 'time_signature', coalesce(time_signature, 'none'), NULL FROM heard WHERE stage = 'beats'
    UNION ALL
    SELECT run_id, corpus, 'detected_key', coalesce(detected_key, 'none'), NULL FROM heard WHERE stage = 'key'
    UNION ALL
    SELECT run_id, corpus, 'detected_genre', coalesce(detected_genre, 'none'), NULL FROM heard WHERE stage = 'decode'
)
SELECT
    run_id,
    corpus,
    measure,
    value,
    any_value(place) AS place,
    count(*) AS tracks,
    count(*) / sum(count(*)) OVER (PARTITION BY run_id, corpus, measure) AS share
FROM valued
GROUP BY run_id, corpus, measure, value
