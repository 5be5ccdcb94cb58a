-- Which keys does each corpus use, and how sure is that?
SELECT corpus, detected_key, count(*) AS tracks, round(avg(key_confidence), 2) AS mean_confidence
FROM tracks
WHERE detected_key IS NOT NULL
GROUP BY corpus, detected_key
ORDER BY corpus, tracks DESC, detected_key
