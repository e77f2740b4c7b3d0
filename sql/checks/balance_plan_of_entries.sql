-- For which t does the plan have other matches or numbers of entries than its entries give?
WITH recounted AS (
    SELECT
        t,
        sum(least(texts, t)) AS matches_of_entries,
        coalesce(sum(texts) FILTER (texts < t) / nullif(sum(texts), 0), 0) AS tail_share_of_entries,
        count(*) FILTER (texts > 0 AND texts < t) AS tail,
        count(*) FILTER (texts >= t) AS head
    FROM planned_entries
    CROSS JOIN (SELECT DISTINCT t FROM balance_plan)
    GROUP BY t
)
SELECT
    t, role, matches_kept, matches_of_entries, tail_share, tail_share_of_entries, tail_entries, tail, head_entries, head
FROM balance_plan
LEFT JOIN recounted USING (t)
WHERE (abs(matches_kept - matches_of_entries) <= 1e-9 * matches_of_entries) IS NOT TRUE
   OR (abs(tail_share - tail_share_of_entries) <= 1e-9) IS NOT TRUE
   OR tail_entries IS DISTINCT FROM tail
   OR head_entries IS DISTINCT FROM head
ORDER BY t, role
