-- Which patterns can be searched, and what can a search filter by? (One row is one pattern with a rhythm vector.)
CREATE OR REPLACE VIEW searchable_patterns AS
SELECT
    patterns.pattern_id,
    patterns.section_id,
    patterns.track_id,
    coalesce(song_groups.source_song_id, patterns.track_id) AS source_song_id,
    patterns.corpus,
    patterns.instrument_type,
    patterns.fingerprint::FLOAT[96] AS vector,
    patterns.groove,
    sections.section_label,
    sections.start_s,
    sections.end_s,
    -- Where the section starts in its song: equal in copies of one song, NULL where that is not known.
    CASE
        WHEN song_groups.parent_track_id IS NULL THEN sections.start_s
        WHEN song_groups.relation IN ('same', 'excerpt', 'transformed')
            THEN song_groups.offset_s + sections.start_s * coalesce(song_groups.speed_ratio, 1)
    END AS song_start_s,
    patterns.tempo_bpm,
    patterns.time_signature,
    coalesce(patterns.key_signature, tracks.detected_key) AS detected_key,
    tracks.detected_genre,
    tracks.title,
    tracks.artist,
    patterns.quality_score,
    tracks.user_id,
    tracks.privacy_setting
FROM patterns
JOIN tracks USING (track_id)
LEFT JOIN sections USING (section_id)
LEFT JOIN song_groups ON song_groups.track_id = patterns.track_id
WHERE len(patterns.fingerprint) = 96
    AND list_dot_product(patterns.fingerprint, patterns.fingerprint) BETWEEN 1e-12 AND 1e12
