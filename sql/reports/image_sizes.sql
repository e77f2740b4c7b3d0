-- How long are the shorter sides of the images, as the pool recorded them and as they were fetched?
-- A step is a quarter of an octave, 2^(step/4) pixels and more: every fourth begins at a power of two.
WITH sizes AS (
    SELECT 'pool' AS source, original_width AS width, original_height AS height FROM shard_maps
    UNION ALL
    SELECT 'fetched' AS source, width, height FROM map_images WHERE status = 'ok'
),
steps AS (
    SELECT source, floor(4 * log2(least(width, height)))::INTEGER AS step, count(*) AS images
    FROM sizes
    WHERE width > 0 AND height > 0
    GROUP BY ALL
)
SELECT source, step, ceil(2 ** (step / 4))::BIGINT AS pixels_from, images
FROM steps
ORDER BY source, step
