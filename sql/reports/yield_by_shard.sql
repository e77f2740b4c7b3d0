-- How many of each shard's pairs are maps, in which part does it lie, and why were the others dropped?
-- The part is the one that reports/corpus.sql publishes the shard in; shards that are listed no more are in it too.
SELECT
    lineage.partition AS shard,
    CASE coalesce(part, '') WHEN '' THEN 'part_' || left(lineage.partition, 1) ELSE part END AS part,
    rows_in,
    rows_kept,
    coalesce(rows_kept / nullif(rows_in, 0), 0) AS yield_share,
    inputs ->> '$.classifier_id' AS classifier_id,
    (inputs ->> '$.threshold')::DOUBLE AS threshold,
    rows_dropped
FROM lineage_of('mappool/shard_maps', NULL) AS lineage
LEFT JOIN pool_shards ON pool_shards.shard = lineage.partition
ORDER BY yield_share DESC, shard
