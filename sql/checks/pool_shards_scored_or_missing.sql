-- Which known shards are neither scored nor listed as missing?
SELECT shard
FROM pool_shards
ANTI JOIN scored_shards USING (shard)
ANTI JOIN missing_shards USING (shard)
ORDER BY shard
