-- Which bytes are kept in more than one image?
SELECT sha256, list(shard || '/' || uid ORDER BY shard, uid) AS images
FROM unique_images
WHERE is_kept
GROUP BY sha256
HAVING count(*) > 1
ORDER BY sha256
