-- Which images are returned though the settings keep them out, or kept out though the settings do not?
-- Of a place and domain the most similar ones are returned, as many as the quota says.
WITH settings AS (
    SELECT
        (inputs ->> '$.min_similarity')::FLOAT AS min_similarity,
        (inputs ->> '$.max_unsafe_score')::FLOAT AS max_unsafe_score,
        (inputs ->> '$.most_a_domain')::BIGINT AS most_a_domain
    FROM lineage_of('geo_subset/geo_images', NULL)
),
judged AS (
    SELECT
        geo_images.*,
        coalesce(similarity < min_similarity, false) AS is_below,
        coalesce(unsafe_score > max_unsafe_score, false) AS is_unsafe,
        most_a_domain,
        row_number() OVER (
            PARTITION BY place_id, domain, coalesce(dropped, 'over_domain_quota') = 'over_domain_quota'
            ORDER BY similarity DESC, shard, "row"
        ) AS rank_in_domain
    FROM geo_images
    CROSS JOIN settings
)
SELECT shard, "row", similarity, unsafe_score, rank_in_domain, dropped
FROM judged
WHERE (dropped IS NOT DISTINCT FROM 'below_min_similarity') <> is_below
   OR (dropped IS NOT DISTINCT FROM 'unsafe') <> (is_unsafe AND NOT is_below)
   OR (dropped IS NULL AND rank_in_domain > most_a_domain)
   OR (dropped = 'over_domain_quota' AND coalesce(rank_in_domain <= most_a_domain, true))
   OR dropped NOT IN ('below_min_similarity', 'unsafe', 'near_duplicate', 'over_domain_quota')
ORDER BY shard, "row"
