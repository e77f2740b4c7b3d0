-- Which media with windows are missing in a form of the interleaved pages, and which of those have none?
WITH linked AS (
    SELECT document_id, sample.position AS position, sample.kind AS kind, sample.url AS url
    FROM (SELECT document_id, crawl_file, unnest(samples) AS sample FROM media_links)
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
),
wanted AS (
    SELECT 'image' AS form, * FROM linked WHERE kind = 'image'
    UNION ALL
    SELECT 'media' AS form, * FROM linked
),
placed AS (
    SELECT form, document_id, part.position AS position, part.kind AS kind, part.url AS url
    FROM (
        SELECT 'image' AS form, document_id, crawl_file, unnest(image_parts) AS part FROM interleaved
        UNION ALL
        SELECT 'media' AS form, document_id, crawl_file, unnest(media_parts) AS part FROM interleaved
    )
    WHERE part.kind <> 'text' AND ($shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file))
)
SELECT 'not interleaved' AS fault, * FROM (SELECT * FROM wanted EXCEPT ALL SELECT * FROM placed)
UNION ALL
SELECT 'without windows' AS fault, * FROM (SELECT * FROM placed EXCEPT ALL SELECT * FROM wanted)
ORDER BY form, document_id, position, fault
