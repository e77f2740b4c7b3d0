-- Which images have the most duplicates?
WITH largest AS (
    SELECT shard, uid, group_size
    FROM unique_images
    WHERE is_kept AND group_size > 1
    ORDER BY group_size DESC, shard, uid
    LIMIT 20
),
attached AS (
    SELECT
        representative_shard AS shard,
        representative_uid AS uid,
        count(*) FILTER (WHERE relation = 'exact') AS exact,
        count(*) FILTER (WHERE relation = 'perceptual') AS perceptual,
        count(*) FILTER (WHERE relation = 'mirrored') AS mirrored,
        count(*) FILTER (WHERE relation = 'embedding') AS embedding
    FROM unique_images
    SEMI JOIN largest ON representative_shard = largest.shard AND representative_uid = largest.uid
    GROUP BY ALL
)
SELECT shard, uid, url, width, height, group_size, exact, perceptual, mirrored, embedding
FROM largest
JOIN attached USING (shard, uid)
LEFT JOIN map_images USING (shard, uid)
ORDER BY group_size DESC, shard, uid
