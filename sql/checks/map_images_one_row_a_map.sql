-- Which maps have no status row of their own, and which status rows no map?
-- Without $shards, of the shards whose images were fetched: the others are not done yet.
WITH maps AS (
    SELECT shard, uid, url, sha256 AS expected_sha256
    FROM shard_maps
    WHERE list_contains($shards, shard)
       OR ($shards::VARCHAR[] IS NULL AND shard IN (SELECT shard FROM fetched_shards))
),
statuses AS (
    SELECT shard, uid, url, expected_sha256
    FROM map_images
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
)
SELECT 'map without status row' AS fault, * FROM (SELECT * FROM maps EXCEPT ALL SELECT * FROM statuses)
UNION ALL
SELECT 'status row without map' AS fault, * FROM (SELECT * FROM statuses EXCEPT ALL SELECT * FROM maps)
ORDER BY shard, uid, fault
