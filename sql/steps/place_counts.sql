-- How many images did each place ask for, find and keep?
-- Each image that a place found is counted once there: it is closer to another place, or dropped, or returned.
WITH places AS (
    SELECT
        place_id,
        any_value(place ORDER BY query) AS place,
        any_value(country ORDER BY query) AS country,
        any_value(latitude ORDER BY query) AS latitude,
        any_value(longitude ORDER BY query) AS longitude,
        count(*)::INTEGER AS prompts
    FROM place_queries
    GROUP BY place_id
),
found AS (
    SELECT place_id, count(*) AS pairs, count(DISTINCT (shard, "row")) AS retrieved
    FROM neighbours
    JOIN place_queries USING (query)
    GROUP BY place_id
),
kept AS (
    SELECT
        place_id,
        count(*) AS best_here,
        count(*) FILTER (dropped IS NULL OR dropped IN ('near_duplicate', 'over_domain_quota')) AS eligible,
        count(*) FILTER (dropped IS NULL OR dropped = 'over_domain_quota') AS after_duplicates,
        count(*) FILTER (dropped IS NULL) AS returned
    FROM geo_images
    GROUP BY place_id
)
SELECT
    place_id,
    place,
    country,
    latitude,
    longitude,
    prompts,
    $k::BIGINT * prompts AS requested,
    coalesce(pairs, 0) AS pairs,
    coalesce(retrieved, 0) AS retrieved,
    coalesce(best_here, 0) AS best_here,
    coalesce(eligible, 0) AS eligible,
    coalesce(after_duplicates, 0) AS after_duplicates,
    coalesce(returned, 0) AS returned
FROM places
LEFT JOIN found USING (place_id)
LEFT JOIN kept USING (place_id)
ORDER BY place_id
