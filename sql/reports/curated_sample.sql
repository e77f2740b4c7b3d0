-- Which pairs of the first seed come first by uid, and which entries are they there for?
-- A uid is a hash: its order has nothing to do with the pairs, so these are as good as drawn by lot, and the same each
-- time. 20 pairs, unless $pairs says how many; where $is_fetched, of those whose image is there; where $is_sure, of
-- those that are kept for sure, or, where it is false, of the others.
WITH drawn AS (
    SELECT (inputs ->> '$.seeds[0]')::INTEGER AS seed FROM lineage_of('curation/curated_pairs', NULL)
),
fetched AS (SELECT shard AS image_shard, uid AS image_uid FROM map_images WHERE status = 'ok')
SELECT
    shard,
    uid,
    image_shard,
    image_uid,
    url,
    text,
    entries,
    matched,
    p,
    fetched.image_uid IS NOT NULL AS is_fetched
FROM curated_pairs
LEFT JOIN fetched USING (image_shard, image_uid)
CROSS JOIN drawn
WHERE list_contains(seeds, seed) AND (fetched.image_uid IS NOT NULL OR NOT coalesce($is_fetched, false))
    AND ($is_sure IS NULL OR $is_sure = (p >= 0.9995))
ORDER BY uid, shard
LIMIT coalesce($pairs, 20)
