-- Which fetched images come first by uid, with their captions and scores?
-- A uid is a hash: its order has nothing to do with the images, so these are as good as drawn by lot, and the same each
-- time. 20 images, unless $images says how many.
WITH sample AS (
    SELECT shard, uid
    FROM map_images
    WHERE status = 'ok'
    ORDER BY uid, shard
    LIMIT coalesce($images, 20)
)
SELECT shard, uid, url, text, map_score
FROM shard_maps
JOIN sample USING (shard, uid)
ORDER BY uid, shard
