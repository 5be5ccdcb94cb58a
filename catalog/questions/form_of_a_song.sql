-- What form does each song have? (Its sections in order, with the seconds at which they start.)
SELECT title, string_agg(printf('%s %.0f', section_label, start_s), ', ' ORDER BY start_s) AS form
FROM sections
JOIN tracks USING (track_id)
GROUP BY track_id, title
HAVING count(*) > 1
ORDER BY title, track_id
