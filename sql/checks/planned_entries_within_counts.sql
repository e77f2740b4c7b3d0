-- Which entries are planned with another chance than their count and t give, or with pairs that cannot be?
-- An entry gets at least what passes for it, p of its texts, and at most all of them. Its pairs are a rounded sum.
SELECT entry_id, entry, texts, p, expected_pairs, is_head, t
FROM planned_entries
CROSS JOIN (SELECT (inputs ->> '$.t')::DOUBLE AS t FROM lineage_of('curation/planned_entries', NULL))
WHERE (abs(p - CASE WHEN texts > t THEN t / texts ELSE 1 END) <= 1e-12) IS NOT TRUE
   OR (expected_pairs BETWEEN (p - 1e-7) * texts AND (1 + 1e-7) * texts) IS NOT TRUE
   OR is_head IS DISTINCT FROM (texts >= t)
ORDER BY entry_id
