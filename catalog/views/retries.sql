-- Which faults were tried more than once, and how often? (One row is a reason and a number of attempts in a corpus.)
CREATE OR REPLACE VIEW retries AS
SELECT corpus, verdict, reason, attempts, count(*) AS files, max(rejected_at) AS last_at
FROM failed_files
WHERE attempts > 1
GROUP BY corpus, verdict, reason, attempts
