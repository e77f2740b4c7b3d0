-- Which maps do not score over the threshold that their own shard was filtered with?
-- Compared as float32, as the score is stored: 0.35 as float64 is larger than 0.35 as float32.
SELECT shard, uid, map_score, threshold
FROM shard_maps
JOIN (
    SELECT partition AS shard, (inputs ->> '$.threshold')::FLOAT AS threshold
    FROM lineage_of('mappool/shard_maps', $shards::VARCHAR[])
) USING (shard)
WHERE ($shards::VARCHAR[] IS NULL OR list_contains($shards, shard))
  AND (map_score > threshold AND NOT isnan(map_score)) IS NOT TRUE
ORDER BY shard, uid
