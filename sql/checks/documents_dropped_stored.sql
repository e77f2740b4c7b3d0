-- In which crawl files are other pages stored as dropped than were counted, by reason?
WITH counted AS (
    SELECT partition AS crawl_file, drop_reason.key AS reason, drop_reason.value AS pages
    FROM lineage_of('web_documents/documents', $shards::VARCHAR[]),
         unnest(map_entries(rows_dropped)) AS reasons_of_file(drop_reason)
),
stored AS (
    SELECT crawl_file, reason, count(*) AS pages
    FROM dropped_pages
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
    GROUP BY ALL
)
SELECT crawl_file, reason, counted.pages AS counted, stored.pages AS stored
FROM counted
FULL JOIN stored USING (crawl_file, reason)
WHERE counted.pages IS DISTINCT FROM stored.pages
ORDER BY crawl_file, reason
