-- What tempo does each genre have? (Tracks whose tempo is likely to be right.)
SELECT
    detected_genre,
    count(*) AS tracks,
    round(median(tempo_bpm), 1) AS median_tempo_bpm,
    round(min(tempo_bpm), 1) AS slowest_bpm,
    round(max(tempo_bpm), 1) AS fastest_bpm
FROM tracks
WHERE tempo_confidence >= 0.5 AND detected_genre IS NOT NULL
GROUP BY detected_genre
ORDER BY tracks DESC, detected_genre
