-- Which images are there twice with the same text, have not just one chosen text, or are not there themselves?
-- An image is one that unique_images keeps or, where images are told apart as the pool lists them, a balanced pair's.
WITH settings AS (SELECT inputs ->> '$.images' AS images FROM lineage_of('curation/unique_pairs', NULL)),
images AS (
    SELECT shard AS image_shard, uid AS image_uid FROM unique_images, settings WHERE images = 'fetched' AND is_kept
    UNION ALL
    SELECT shard AS image_shard, uid AS image_uid FROM balanced_pool, settings WHERE images = 'listed'
),
faults AS (
    SELECT 'same text twice' AS fault, image_shard, image_uid, text_hash
    FROM (SELECT image_shard, image_uid, hash(text) AS text_hash FROM unique_pairs)
    GROUP BY ALL
    HAVING count(*) > 1
    UNION ALL
    SELECT 'not one chosen text' AS fault, image_shard, image_uid, NULL AS text_hash
    FROM unique_pairs
    GROUP BY image_shard, image_uid
    HAVING count(*) FILTER (is_image_text) <> 1
    UNION ALL
    SELECT DISTINCT 'no such image' AS fault, image_shard, image_uid, NULL AS text_hash
    FROM unique_pairs
    ANTI JOIN images USING (image_shard, image_uid)
)
SELECT fault, image_shard, image_uid, list(shard || '/' || uid ORDER BY shard, uid) AS pairs
FROM faults
JOIN unique_pairs USING (image_shard, image_uid)
WHERE text_hash IS NULL OR text_hash = hash(text)
GROUP BY fault, image_shard, image_uid, text_hash
ORDER BY image_shard, image_uid, fault, pairs
