-- Which kinds of sections have nearly the same groove? (Pairs of the nightly similarity table from 0.9 on.)
SELECT
    least(here.section_label, there.section_label) AS label,
    greatest(here.section_label, there.section_label) AS other_label,
    count(DISTINCT (least(pattern_id_1, pattern_id_2), greatest(pattern_id_1, pattern_id_2))) AS pairs,
    round(avg(similarity_score), 3) AS mean_similarity
FROM pattern_similarities
JOIN patterns AS first ON first.pattern_id = pattern_id_1
JOIN patterns AS second ON second.pattern_id = pattern_id_2
JOIN sections AS here ON here.section_id = first.section_id
JOIN sections AS there ON there.section_id = second.section_id
WHERE first.instrument_type = 'drums' AND similarity_score >= 0.9
GROUP BY label, other_label
ORDER BY pairs DESC, label, other_label
