-- Does any uid occur more than once among the maps, within a shard or across shards?
WITH copied AS (
    SELECT uid, count(*) AS copies
    FROM shard_maps
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
    GROUP BY uid
    HAVING count(*) > 1
)
SELECT uid, any_value(copies) AS copies, list(DISTINCT shard ORDER BY shard) AS shards
FROM copied
JOIN shard_maps USING (uid)
WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
GROUP BY uid
ORDER BY uid
