-- Which tracks are the same recording as another, or a part of it?
SELECT title, artist, relation, round(duration_s, 1) AS duration_s, source_song_id
FROM song_groups
JOIN tracks USING (track_id)
WHERE relation <> 'unique'
ORDER BY source_song_id, relation DESC, title
