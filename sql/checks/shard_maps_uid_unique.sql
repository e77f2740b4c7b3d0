-- Does any uid occur more than once among the maps, within a shard or across shards?
SELECT uid, count(*) AS copies, list(DISTINCT shard ORDER BY shard) AS shards
FROM shard_maps
WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
GROUP BY uid
HAVING count(*) > 1
ORDER BY uid
