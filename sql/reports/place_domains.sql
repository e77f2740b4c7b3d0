-- Which domains hold the most images of places, and which share do all domains up to a rank hold together?
-- The 20 first, then ten ranks a decade down to the last one.
WITH counted AS (
    SELECT domain, count(*) AS images FROM geo_images WHERE dropped IS NULL GROUP BY domain
),
ranked AS (
    SELECT
        row_number() OVER by_size AS rank,
        domain,
        images,
        sum(images) OVER by_size AS cumulative_images,
        count(*) OVER () AS domain_count,
        sum(images) OVER () AS image_count
    FROM counted
    WINDOW by_size AS (ORDER BY images DESC, domain ROWS UNBOUNDED PRECEDING)
)
SELECT
    rank,
    domain,
    images,
    images / image_count AS images_share,
    cumulative_images / image_count AS cumulative_share
FROM ranked
WHERE rank <= 20 OR floor(10 * log10(rank)) > floor(10 * log10(rank - 1)) OR rank = domain_count
ORDER BY rank
