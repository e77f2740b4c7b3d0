-- Which shards of a corpus are made from something else by now than when it was read?
SELECT corpus.shard
FROM (SELECT unnest($shards::VARCHAR[]) AS shard, unnest($fingerprints::VARCHAR[]) AS fingerprint) AS corpus
ANTI JOIN (SELECT partition AS shard, fingerprint FROM lineage_of('mappool/shard_maps', NULL)) AS lake
    USING (shard, fingerprint)
ORDER BY shard
