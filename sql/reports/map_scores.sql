-- How many maps have which score, in steps of 0.01?
WITH steps AS (
    SELECT floor(map_score * 100::DOUBLE)::BIGINT AS step, count(*) AS maps
    FROM shard_maps
    WHERE isfinite(map_score)
    GROUP BY step
)
SELECT step / 100 AS score_from, maps
FROM steps
ORDER BY step
