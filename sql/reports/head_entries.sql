-- Which entries match the most texts, and how many are planned and curated of them?
-- 50, unless $entries says how many. What is not planned or curated yet is NULL.
SELECT
    row_number() OVER (ORDER BY counted.texts DESC, entry_id) AS rank,
    entry_id,
    entry,
    counted.texts,
    counted.texts / nullif(sum(counted.texts) OVER (), 0) AS matches_share,
    planned.p AS planned_p,
    planned.expected_pairs AS planned_pairs,
    curated.unique_texts_estimate,
    curated.expected_pairs,
    curated.curated
FROM entry_counts AS counted
LEFT JOIN planned_entries AS planned USING (entry_id, entry)
LEFT JOIN curated_entries AS curated USING (entry_id, entry)
QUALIFY rank <= coalesce($entries, 50)
ORDER BY rank
