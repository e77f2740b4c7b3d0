-- In which pages do parts overlap or stand in another order than in the page?
WITH parts AS (
    SELECT crawl_file, document_id, form, number, part
    FROM (
        SELECT crawl_file, document_id, 'image' AS form, unnest(image_parts) AS part,
               generate_subscripts(image_parts, 1) AS number
        FROM interleaved
        UNION ALL
        SELECT crawl_file, document_id, 'media' AS form, unnest(media_parts) AS part,
               generate_subscripts(media_parts, 1) AS number
        FROM interleaved
    )
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
),
ordered AS (
    SELECT *,
        lag(part."end" IGNORE NULLS) OVER in_page AS text_before,
        lag(part.position IGNORE NULLS) OVER in_page AS position_before
    FROM parts
    WINDOW in_page AS (PARTITION BY crawl_file, document_id, form ORDER BY number)
)
SELECT crawl_file, document_id, form, number, part.kind AS kind, part.start AS start, part.position AS position
FROM ordered
WHERE part.start < text_before
   OR part.position <= position_before
   OR (CASE WHEN part.kind = 'text' THEN part.start < part."end" ELSE part.position >= 0 END) IS NOT TRUE
ORDER BY crawl_file, document_id, form, number
