-- In which shards did the sample of rows that the screen refused hold maps?
SELECT
    partition AS shard,
    (measures ->> '$.screen.missed')::BIGINT AS missed,
    (measures ->> '$.screen.sampled')::BIGINT AS sampled,
    (measures ->> '$.screen.refused')::BIGINT AS refused
FROM lineage_of('mappool/shard_maps', $shards::VARCHAR[])
WHERE missed > 0
ORDER BY shard
