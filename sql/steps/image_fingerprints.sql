-- What made each partition that images and their embeddings are read from?
-- Of the ledgers the images alone: an attempt more at what never came makes no other duplicates.
SELECT "table", partition, coalesce(measures ->> '$.images_sha256', fingerprint) AS fingerprint
FROM lineage_of('mappool/map_images', NULL)
UNION ALL
SELECT "table", partition, fingerprint FROM lineage_of('mappool/shard_maps', NULL)
ORDER BY "table", partition
