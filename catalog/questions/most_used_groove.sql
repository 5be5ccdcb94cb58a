-- Which groove do most songs use? (x is a hit, the steps of a bar from left to right.)
SELECT groove, songs, patterns, round(median_tempo_bpm, 1) AS median_tempo_bpm
FROM common_grooves
WHERE instrument_type = 'drums'
ORDER BY songs DESC, patterns DESC, groove
LIMIT 5
