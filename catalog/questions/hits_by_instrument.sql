-- How busy and how loud are the drums of each track? (Hits a second, and their velocity from 1 to 127.)
SELECT
    title,
    instrument_type,
    round(count(*) / any_value(tracks.duration_s), 2) AS hits_per_s,
    round(avg(velocity)) AS mean_velocity
FROM notes
JOIN tracks USING (track_id)
WHERE instrument_type <> 'bass'
GROUP BY track_id, title, instrument_type
ORDER BY title, track_id, hits_per_s DESC
