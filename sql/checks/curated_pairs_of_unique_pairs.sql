-- Which curated pairs are no unique pairs as they were, are there twice, or have chances or seeds that cannot be?
WITH settings AS (SELECT (inputs -> '$.seeds')::INTEGER[] AS all_seeds FROM lineage_of('curation/curated_pairs', NULL)),
curated AS (
    SELECT shard, uid, image_shard, image_uid, first_p, hash(url, text, sha256, entries) AS row_hash FROM curated_pairs
),
unique_ones AS (
    SELECT shard, uid, image_shard, image_uid, first_p, hash(url, text, sha256, entries) AS row_hash FROM unique_pairs
)
SELECT 'not unique so, or twice' AS fault, shard, uid FROM (FROM curated EXCEPT ALL FROM unique_ones)
UNION ALL
SELECT 'chance' AS fault, shard, uid
FROM curated_pairs
WHERE (p > 0 AND p <= 1 AND abs(second_p - least(1, p / first_p)) <= 1e-12) IS NOT TRUE
UNION ALL
SELECT 'seeds' AS fault, shard, uid
FROM curated_pairs
CROSS JOIN settings
WHERE (len(seeds) >= 1 AND len(list_distinct(seeds)) = len(seeds) AND list_has_all(all_seeds, seeds)) IS NOT TRUE
ORDER BY shard, uid, fault
