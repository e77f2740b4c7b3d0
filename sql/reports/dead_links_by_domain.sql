-- Which domains have the most dead links, and why mostly?
-- The first 20 of those with at least 10 maps whose images were wanted.
WITH counted AS (
    SELECT
        domain_of(url) AS domain,
        status,
        outcome_of(status) = 'dead link' AS is_dead,
        count(*) AS images
    FROM map_images
    WHERE status <> 'not_balanced'
    GROUP BY ALL
),
domains AS (
    SELECT
        domain,
        sum(images)::BIGINT AS images,
        coalesce(sum(images) FILTER (is_dead), 0)::BIGINT AS dead_links,
        first(status ORDER BY images DESC, status) FILTER (is_dead) AS main_reason
    FROM counted
    GROUP BY domain
)
SELECT domain, images, dead_links, dead_links / images AS dead_share, main_reason
FROM domains
WHERE images >= 10 AND dead_links > 0
ORDER BY dead_links DESC, domain
LIMIT 20
