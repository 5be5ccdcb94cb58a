-- Which tracks should a person listen to? (Where a judgement is missing or unsure, or the recording is poor.)
SELECT
    title,
    round(tempo_confidence, 2) AS tempo_confidence,
    round(key_confidence, 2) AS key_confidence,
    round(quality_score, 2) AS quality_score,
    concat_ws(
        ', ',
        CASE WHEN tempo_bpm IS NULL THEN 'no pulse' WHEN tempo_confidence < 0.5 THEN 'tempo unsure' END,
        CASE WHEN detected_key IS NULL THEN 'no key' WHEN key_confidence < 0.5 THEN 'key unsure' END,
        CASE WHEN quality_score < 0.5 THEN 'poor recording' END
    ) AS why
FROM tracks
WHERE why <> ''
ORDER BY length(why) DESC, title, track_id
