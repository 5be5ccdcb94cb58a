-- What does the lake hold altogether? (One row.)
CREATE OR REPLACE VIEW lake_totals AS
SELECT
    (SELECT count(*) FROM tracks) AS tracks,
    (SELECT coalesce(sum(duration_s), 0) / 3600 FROM tracks) AS audio_h,
    (SELECT count(*) FROM files) AS files,
    (SELECT count(*) FROM rejects) AS files_not_in,
    (SELECT count(DISTINCT coalesce(song_groups.source_song_id, tracks.track_id))
     FROM tracks LEFT JOIN song_groups USING (track_id)) AS songs,
    (SELECT count(*) FROM patterns) AS patterns,
    (SELECT coalesce(sum(size_bytes), 0)::BIGINT FROM data_files) AS table_bytes,
    (SELECT coalesce(sum(size_bytes), 0)::BIGINT FROM storage_by_kind) AS total_bytes
