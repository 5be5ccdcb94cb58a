-- Which songs play their chorus faster than their verse? (Tempi from the beats in each section; 1 % and more.)
WITH gaps AS (
    SELECT track_id, time_s, lead(time_s) OVER (PARTITION BY track_id ORDER BY time_s) - time_s AS gap_s FROM beats
),
tempi AS (
    SELECT track_id, section_label, 60 / median(gap_s) AS tempo_bpm
    FROM sections
    JOIN gaps USING (track_id)
    WHERE section_label IN ('verse', 'chorus') AND time_s >= start_s AND time_s + gap_s <= end_s
    GROUP BY track_id, section_label
)
SELECT title, artist, round(verse.tempo_bpm, 1) AS verse_bpm, round(chorus.tempo_bpm, 1) AS chorus_bpm
FROM tempi AS verse
JOIN tempi AS chorus USING (track_id)
JOIN tracks USING (track_id)
WHERE verse.section_label = 'verse'
    AND chorus.section_label = 'chorus'
    AND chorus.tempo_bpm >= 1.01 * verse.tempo_bpm
ORDER BY chorus.tempo_bpm / verse.tempo_bpm DESC, title
