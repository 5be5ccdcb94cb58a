-- Which measure of a run is distributed otherwise than in the ten runs of its corpus before it? (One row is a measure in a
-- run and corpus. psi is the population stability index of Siddiqi, "Credit Risk Scorecards", 2006, with half a track
-- added to every value; 0.25 is its accustomed limit. By chance alone it grows as runs get small, so it raises an alarm
-- only above what one of 10,000 runs from the same source would reach: Yurdakul & Naranjo, "Statistical properties of the
-- population stability index", Journal of Risk Model Validation 14(4), 2020, with the chi-square quantile after Wilson &
-- Hilferty, PNAS 17, 1931.)
CREATE OR REPLACE VIEW value_drift AS
WITH numbered AS (
    SELECT run_id, corpus, started_at, row_number() OVER (PARTITION BY corpus ORDER BY started_at, run_id) AS place
    FROM (SELECT DISTINCT run_id, corpus FROM value_distributions)
    JOIN runs USING (run_id)
),
possible AS (
    SELECT DISTINCT corpus, measure, value FROM value_distributions
),
counted AS (
    SELECT
        numbered.*,
        possible.measure,
        possible.value,
        coalesce(found.tracks, 0) AS tracks,
        coalesce(
            sum(found.tracks) OVER (
                PARTITION BY corpus, possible.measure, possible.value
                ORDER BY numbered.place
                ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING
            ),
            0
        ) AS tracks_before
    FROM numbered
    JOIN possible USING (corpus)
    LEFT JOIN value_distributions AS found USING (run_id, corpus, measure, value)
),
shares AS (
    SELECT
        *,
        count(*) OVER every_value AS seen_values,
        (tracks + 0.5) / (sum(tracks) OVER every_value + 0.5 * seen_values) AS share,
        (tracks_before + 0.5) / (sum(tracks_before) OVER every_value + 0.5 * seen_values) AS share_before
    FROM counted
    WHERE tracks + tracks_before > 0
    WINDOW every_value AS (PARTITION BY run_id, corpus, measure)
),
indexed AS (
    SELECT
        run_id,
        corpus,
        measure,
        started_at,
        sum(tracks) AS tracks,
        sum(tracks_before) AS tracks_before,
        sum((share - share_before) * ln(share / share_before)) AS psi,
        count(*) - 1 AS freedom,
        arg_max(value, abs(share - share_before)) AS most_changed_value
    FROM shares
    GROUP BY run_id, corpus, measure, started_at
),
limited AS (
    SELECT
        *,
        CASE
            WHEN freedom > 0
                THEN freedom * (1 - 2 / (9 * freedom) + 3.719 * sqrt(2 / (9 * freedom))) ** 3
                    * (1 / tracks + 1 / tracks_before)
        END AS psi_by_chance
    FROM indexed
    WHERE tracks > 0 AND tracks_before > 0
)
SELECT
    limited.run_id,
    limited.corpus,
    limited.measure,
    limited.started_at,
    limited.tracks::BIGINT AS tracks,
    limited.tracks_before::BIGINT AS tracks_before,
    limited.psi,
    limited.psi_by_chance,
    limited.most_changed_value,
    shares.tracks / limited.tracks AS share,
    shares.tracks_before / limited.tracks_before AS share_before,
    coalesce(limited.psi > greatest(0.25, limited.psi_by_chance), false) AS drifted
FROM limited
JOIN shares
    ON shares.run_id = limited.run_id
    AND shares.corpus = limited.corpus
    AND shares.measure = limited.measure
    AND shares.value = limited.most_changed_value
