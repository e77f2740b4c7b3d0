-- Which known shards have not been scored, and why?
-- The reason holds no address or path: it is published, in missing_shards.json; the columns after it are not.
SELECT
    shard,
    part,
    parquet_bytes,
    npz_bytes,
    CASE
        WHEN shard_failures.shard IS NOT NULL THEN error || ': ' || what
        WHEN NOT is_listed THEN 'no longer listed at the source'
        ELSE 'not scored yet'
    END AS reason,
    "where",
    rule,
    got,
    action
FROM pool_shards
ANTI JOIN scored_shards USING (shard)
LEFT JOIN shard_failures USING (shard)
ORDER BY shard
