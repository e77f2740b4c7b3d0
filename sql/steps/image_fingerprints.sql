-- What made each partition that images and their embeddings are read from?
SELECT "table", partition, fingerprint FROM lineage_of('mappool/map_images', NULL)
UNION ALL
SELECT "table", partition, fingerprint FROM lineage_of('mappool/shard_maps', NULL)
ORDER BY "table", partition
