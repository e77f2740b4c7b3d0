-- Which entries have other numbers of texts than entry_counts, unique_pairs and curated_pairs give them?
-- Of curated pairs those of the first seed. The estimate is the sum of 1 / first_p, of which each summand is rounded.
WITH settings AS (
    SELECT (inputs ->> '$.seeds[0]')::INTEGER AS first_seed FROM lineage_of('curation/curated_pairs', NULL)
),
estimated AS (
    SELECT entry_id, sum(1 / first_p) AS estimate
    FROM (SELECT unnest(entries) AS entry_id, first_p FROM unique_pairs)
    GROUP BY entry_id
),
drawn AS (
    SELECT entry_id, count(*) AS pairs
    FROM (SELECT unnest(entries) AS entry_id FROM curated_pairs, settings WHERE list_contains(seeds, first_seed))
    GROUP BY entry_id
)
SELECT
    entry_id,
    entry,
    counted.texts AS counted,
    of_entry.texts,
    estimate,
    unique_texts_estimate,
    coalesce(drawn.pairs, 0) AS drawn,
    curated,
    expected_pairs
FROM curated_entries AS of_entry
FULL JOIN (SELECT entry_id, entry, texts FROM entry_counts) AS counted USING (entry_id, entry)
LEFT JOIN estimated USING (entry_id)
LEFT JOIN drawn USING (entry_id)
WHERE of_entry.texts IS DISTINCT FROM counted.texts
   OR curated IS DISTINCT FROM coalesce(drawn.pairs, 0)
   OR (abs(unique_texts_estimate - coalesce(estimate, 0)) <= 1e-5 * coalesce(estimate, 0)) IS NOT TRUE
   OR (expected_pairs BETWEEN 0 AND 1.00001 * unique_texts_estimate) IS NOT TRUE
ORDER BY entry_id
