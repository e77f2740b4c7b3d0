-- Which shards make up the corpus, in which part, made by what, from and with how many rows?
-- The part is the source's folder, or, where the pool is flat, the first character of the key: it depends on the shard
-- alone, so that publishing bit by bit and all at once put it in the same place. A shard that its source lists no more
-- is left out: its rows may have come back under another key.
WITH listing AS (
    SELECT origin ->> '$.revision' AS revision
    FROM lineage_of('mappool/pool_shards', NULL)
)
SELECT
    shard,
    CASE part WHEN '' THEN 'part_' || left(shard, 1) ELSE part END AS part,
    rows_in,
    rows_kept,
    rows_dropped,
    fingerprint,
    origin ->> '$.source' AS source,
    CASE WHEN inputs ->> '$.parquet_version' = parquet_version AND inputs ->> '$.npz_version' = npz_version
        THEN listing.revision
    END AS revision,
    inputs ->> '$.classifier_id' AS classifier_id,
    (inputs ->> '$.threshold')::DOUBLE AS threshold,
    inputs ->> '$.screen_id' AS screen_id,
    coalesce((measures ->> '$.screen.refused')::BIGINT, 0) AS screen_refused,
    coalesce((measures ->> '$.screen.sampled')::BIGINT, 0) AS screen_sampled,
    coalesce((measures ->> '$.screen.missed')::BIGINT, 0) AS screen_missed
FROM pool_shards
JOIN lineage_of('mappool/shard_maps', NULL) ON partition = shard
CROSS JOIN listing
WHERE is_listed
ORDER BY part, shard
