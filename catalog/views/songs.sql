-- Which sections of which songs are there? (One row is one section, in the shape analysts know.)
CREATE OR REPLACE VIEW songs AS
SELECT
    sections.section_id AS song_id,
    coalesce(song_groups.source_song_id, tracks.track_id) AS source_song_id,
    fingerprints.items AS audio_fingerprint,
    sections.section_label,
    tracks.user_id,
    tracks.upload_date,
    sections.end_s - sections.start_s AS duration,
    coalesce(sections.tempo_bpm, patterns.tempo_bpm, tracks.tempo_bpm) AS tempo,
    tracks.detected_key,
    tracks.detected_genre,
    tracks.file_hash,
    tracks.privacy_setting
FROM sections
JOIN tracks USING (track_id)
LEFT JOIN song_groups USING (track_id)
LEFT JOIN fingerprints
    ON fingerprints.track_id = tracks.track_id AND fingerprints.algorithm = 'chromaprint-test2'
LEFT JOIN patterns ON patterns.section_id = sections.section_id AND patterns.instrument_type = 'drums'
