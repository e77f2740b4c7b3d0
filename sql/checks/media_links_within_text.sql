-- Which windows do not lie in their page's text, in order, the medium between them?
WITH samples AS (
    SELECT crawl_file, document_id, unnest(samples) AS sample
    FROM media_links
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
),
lengths AS (
    SELECT document_id, length(document_text(items)) AS characters
    FROM documents
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, crawl_file)
)
SELECT crawl_file, document_id, sample.position, sample.before_start, sample.before_end, sample.after_start,
       sample.after_end, characters
FROM samples
LEFT JOIN lengths USING (document_id)
WHERE (0 <= sample.before_start AND sample.before_start <= sample.before_end
       AND sample.before_end <= sample.after_start AND sample.after_start <= sample.after_end
       AND sample.after_end <= characters) IS NOT TRUE -- nor where an offset or the page is not there
ORDER BY crawl_file, document_id, sample.position
