-- Which public patterns are like this one, and how much? (The answer of midime search, in plain SQL.)
CREATE OR REPLACE MACRO similar_patterns(pattern, min_similarity := 0.7, max_results := 20) AS TABLE
SELECT
    other.pattern_id,
    array_cosine_similarity(query.vector, other.vector) AS similarity_score,
    other.source_song_id,
    other.section_id AS song_id,
    other.section_label AS section,
    other.track_id,
    other.tempo_bpm,
    other.detected_key,
    other.detected_genre,
    other.time_signature
FROM searchable_patterns AS query
JOIN searchable_patterns AS other
    ON other.instrument_type = query.instrument_type
    AND other.track_id <> query.track_id
WHERE query.pattern_id = pattern::UUID
    AND query.privacy_setting = 'public'
    AND other.privacy_setting = 'public'
    AND array_cosine_similarity(query.vector, other.vector) >= min_similarity
ORDER BY similarity_score DESC, other.pattern_id
LIMIT max_results
