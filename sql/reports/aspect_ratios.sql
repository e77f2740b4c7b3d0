-- Which proportions do the images have, as the pool recorded them and as they were fetched?
-- A step is an eighth of an octave of width : height: step 0 is the square, 4 is √2 : 1, 8 is 2 : 1, -8 is 1 : 2.
WITH sizes AS (
    SELECT 'pool' AS source, original_width AS width, original_height AS height FROM shard_maps
    UNION ALL
    SELECT 'fetched' AS source, width, height FROM map_images WHERE status = 'ok'
),
steps AS (
    SELECT source, round(8 * log2(width / height))::INTEGER AS step, count(*) AS images
    FROM sizes
    WHERE width > 0 AND height > 0
    GROUP BY ALL
)
SELECT source, step, round(2 ** (step / 8), 4) AS width_by_height, images
FROM steps
ORDER BY source, step
