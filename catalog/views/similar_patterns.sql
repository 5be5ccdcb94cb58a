-- Which public patterns of other songs are like this one, and how much? (The answer of midime search, in plain SQL.)
CREATE OR REPLACE MACRO similar_patterns(pattern, min_similarity := 0.7, max_results := 20) AS TABLE
WITH query AS (
    SELECT
        instrument_type,
        source_song_id,
        -- The vector with its two bars begun at each half of their eight beats.
        list_transform(
            range(16),
            lambda halves: list_transform(
                range(96),
                lambda place: vector[1 + 32 * (place // 32) + (place % 32 + 32 - 2 * halves) % 32]
            )::FLOAT[96]
        ) AS shifted
    FROM searchable_patterns
    WHERE pattern_id = pattern::UUID AND privacy_setting = 'public'
)
SELECT
    other.pattern_id,
    greatest(
        array_cosine_similarity(query.shifted[1], other.vector),
        array_cosine_similarity(query.shifted[2], other.vector),
        array_cosine_similarity(query.shifted[3], other.vector),
        array_cosine_similarity(query.shifted[4], other.vector),
        array_cosine_similarity(query.shifted[5], other.vector),
        array_cosine_similarity(query.shifted[6], other.vector),
        array_cosine_similarity(query.shifted[7], other.vector),
        array_cosine_similarity(query.shifted[8], other.vector),
        array_cosine_similarity(query.shifted[9], other.vector),
        array_cosine_similarity(query.shifted[10], other.vector),
        array_cosine_similarity(query.shifted[11], other.vector),
        array_cosine_similarity(query.shifted[12], other.vector),
        array_cosine_similarity(query.shifted[13], other.vector),
        array_cosine_similarity(query.shifted[14], other.vector),
        array_cosine_similarity(query.shifted[15], other.vector),
        array_cosine_similarity(query.shifted[16], other.vector)
    ) AS similarity_score,
    other.source_song_id,
    other.section_id AS song_id,
    other.section_label AS section,
    other.track_id,
    other.tempo_bpm,
    other.detected_key,
    other.detected_genre,
    other.time_signature
FROM query
JOIN searchable_patterns AS other
    ON other.instrument_type = query.instrument_type
    AND other.source_song_id <> query.source_song_id
WHERE other.privacy_setting = 'public'
    AND similarity_score >= min_similarity
ORDER BY similarity_score DESC, other.pattern_id
LIMIT max_results
