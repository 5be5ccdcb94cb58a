-- What do the drums of a section look like? (The clearest patterns, x for a hit.)
SELECT title, section_label, round(patterns.tempo_bpm, 1) AS tempo_bpm, groove, round(patterns.quality_score, 2) AS quality
FROM patterns
JOIN sections USING (section_id)
JOIN tracks ON tracks.track_id = patterns.track_id
WHERE instrument_type = 'drums' AND groove <> ''
ORDER BY patterns.quality_score DESC, title
LIMIT 5
