-- Which media URLs of some buckets do crawl files show, on how many pages, and on pages of how many domains?
-- Grouped by domain first, then counted: count(DISTINCT …) would hold all domains of a URL in memory.
SELECT
    kind,
    url,
    sum(seen)::BIGINT AS seen,
    count(*)::INTEGER AS domains,
    sum(rows)::BIGINT AS rows
FROM (
    SELECT kind, url, domain, sum(seen) AS seen, count(*) AS rows
    FROM read_parquet($files)
    WHERE bucket BETWEEN $first AND $last
    GROUP BY kind, url, domain
)
GROUP BY kind, url
ORDER BY kind, url;
