-- Which media of documents have no windows, and which windows no medium?
WITH media AS (
    SELECT document_id, item.position AS position, item.kind AS kind, item.url AS url
    FROM (SELECT document_id, crawl_file, unnest(items) AS item FROM documents)
    WHERE item.kind <> 'text' AND ($shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file))
),
linked AS (
    SELECT document_id, sample.position AS position, sample.kind AS kind, sample.url AS url
    FROM (SELECT document_id, crawl_file, unnest(samples) AS sample FROM media_links)
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
)
SELECT 'medium without windows' AS fault, * FROM (SELECT * FROM media EXCEPT ALL SELECT * FROM linked)
UNION ALL
SELECT 'windows without medium' AS fault, * FROM (SELECT * FROM linked EXCEPT ALL SELECT * FROM media)
ORDER BY document_id, position, fault
