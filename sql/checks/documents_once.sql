-- Which pages are there twice, as documents, as dropped pages or as both?
WITH pages AS (
    SELECT crawl_file, warc_offset FROM documents WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
    UNION ALL
    SELECT crawl_file, warc_offset FROM dropped_pages
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
)
SELECT crawl_file, warc_offset, count(*) AS times
FROM pages
GROUP BY ALL
HAVING count(*) > 1
ORDER BY crawl_file, warc_offset
