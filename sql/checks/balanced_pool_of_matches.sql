-- Which pairs of the first pass are not matched so, are there twice, or have a chance that none is drawn with?
WITH pairs AS (
    SELECT shard, "row", uid, text_id, entries, first_p
    FROM balanced_pool
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
),
matched AS (
    SELECT shard, "row", uid, text_id, entries
    FROM matches
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
)
SELECT 'not matched so, or twice' AS fault, shard, "row", uid, NULL AS first_p
FROM (SELECT * EXCLUDE (first_p) FROM pairs EXCEPT ALL SELECT * FROM matched)
UNION ALL
SELECT 'no chance' AS fault, shard, "row", uid, first_p
FROM pairs
WHERE (first_p > 0 AND first_p <= 1) IS NOT TRUE OR len(entries) = 0
ORDER BY shard, "row", fault
