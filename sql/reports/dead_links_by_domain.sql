-- Which domains have the most dead links, and why mostly?
-- The first 20 of those with at least 10 maps. The domain is that of reports/domains.sql; a dead link is that of
-- reports/image_statuses.sql.
WITH images AS (
    SELECT
        rtrim(regexp_extract(
            lower(url), '^[a-z][a-z0-9+.-]*://(?:[^/?#\\]*@)?(?:www\.)?(\[[^\]/?#\\]*\]|[^/?#:\\]*)', 1
        ), '.') AS domain,
        status
    FROM map_images
),
counted AS (
    SELECT
        domain,
        status,
        status NOT IN (
            'ok', 'robots_txt', 'opted_out', 'taken_down', 'blocked_address', 'too_large', 'too_many_pixels', 'bad_uid'
        ) AS is_dead,
        count(*) AS images
    FROM images
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
