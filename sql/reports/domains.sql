-- Which domains hold the most maps, and which share do all domains up to a rank hold together?
-- A domain is the host of the address in lower case, without port and leading "www."; what people can register, as in
-- "example.co.uk", would take a public-suffix list. The 20 first, then ten ranks a decade down to the last one.
WITH counted AS (
    SELECT domain_of(url) AS domain, count(*) AS maps FROM shard_maps GROUP BY domain
),
ranked AS (
    SELECT
        row_number() OVER by_size AS rank,
        domain,
        maps,
        sum(maps) OVER by_size AS cumulative_maps,
        count(*) OVER () AS domain_count,
        sum(maps) OVER () AS map_count
    FROM counted
    WINDOW by_size AS (ORDER BY maps DESC, domain ROWS UNBOUNDED PRECEDING)
)
SELECT
    rank,
    domain,
    maps,
    maps / map_count AS maps_share,
    cumulative_maps / map_count AS cumulative_share
FROM ranked
WHERE rank <= 20 OR floor(10 * log10(rank)) > floor(10 * log10(rank - 1)) OR rank = domain_count
ORDER BY rank
