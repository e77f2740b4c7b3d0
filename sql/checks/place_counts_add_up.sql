-- For which places do the counts not agree with each other, with the images or with what the prompts found?
WITH returned AS (
    SELECT place_id, count(*) AS best_here, count(*) FILTER (dropped IS NULL) AS returned
    FROM geo_images
    GROUP BY place_id
),
found AS (
    SELECT place_id, count(*) AS pairs, count(DISTINCT (shard, "row")) AS retrieved
    FROM neighbours
    JOIN place_queries USING (query)
    GROUP BY place_id
),
places AS (SELECT place_id, count(*) AS prompts FROM place_queries GROUP BY place_id)
SELECT place_id, counted.* EXCLUDE (place_id)
FROM place_counts AS counted
FULL JOIN places USING (place_id)
LEFT JOIN returned USING (place_id)
LEFT JOIN found USING (place_id)
WHERE counted.prompts IS DISTINCT FROM places.prompts
   OR counted.pairs <> coalesce(found.pairs, 0)
   OR counted.retrieved <> coalesce(found.retrieved, 0)
   OR counted.best_here <> coalesce(returned.best_here, 0)
   OR counted.returned <> coalesce(returned.returned, 0)
   OR NOT (requested >= counted.pairs AND counted.pairs >= counted.retrieved AND counted.retrieved >= counted.best_here)
   OR NOT (counted.best_here >= eligible AND eligible >= after_duplicates AND after_duplicates >= counted.returned)
ORDER BY place_id
