-- Which grooves of drums and lines of basses are used most, in how many songs, at which tempi, and where is one to be heard? (Public tracks.)
CREATE OR REPLACE VIEW common_grooves AS
SELECT
    instrument_type,
    groove,
    time_signature,
    count(DISTINCT source_song_id) AS songs,
    count(*) AS patterns,
    median(tempo_bpm) AS median_tempo_bpm,
    min(tempo_bpm) AS lowest_tempo_bpm,
    max(tempo_bpm) AS highest_tempo_bpm,
    mode(detected_genre) AS most_frequent_genre,
    arg_max(pattern_id, quality_score) AS best_pattern_id
FROM searchable_patterns
WHERE privacy_setting = 'public' AND groove <> ''
GROUP BY instrument_type, groove, time_signature
ORDER BY songs DESC, patterns DESC, groove
