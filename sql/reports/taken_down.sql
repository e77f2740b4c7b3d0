-- Which maps of the lake does a take-down list name, by uid, by address or by checksum of the image?
-- Hex digits are compared without regard to case, addresses as they are. Only these three columns are read.
SELECT shard, list(DISTINCT uid ORDER BY uid) AS uids
FROM shard_maps
WHERE lower(uid) IN (SELECT unnest($uids::VARCHAR[]))
   OR url IN (SELECT unnest($urls::VARCHAR[]))
   OR lower(sha256) IN (SELECT unnest($checksums::VARCHAR[]))
GROUP BY shard
ORDER BY shard
