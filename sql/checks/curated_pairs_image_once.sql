-- Which images are curated with several texts, though the policy is one text an image?
WITH repeated AS (
    SELECT image_shard, image_uid
    FROM curated_pairs
    WHERE (SELECT inputs ->> '$.policy' FROM lineage_of('curation/curated_pairs', NULL)) = 'image'
    GROUP BY image_shard, image_uid
    HAVING count(*) > 1
)
SELECT image_shard, image_uid, list(shard || '/' || uid ORDER BY shard, uid) AS pairs
FROM curated_pairs
JOIN repeated USING (image_shard, image_uid)
GROUP BY image_shard, image_uid
ORDER BY image_shard, image_uid
