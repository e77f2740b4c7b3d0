-- Which crawl files have media URLs, made from what, and how many bytes are these?
SELECT partition AS crawl_file, fingerprint, (measures ->> '$.text_bytes')::BIGINT AS text_bytes, rows_kept
FROM lineage_of('web_documents/file_media_urls', NULL)
ORDER BY crawl_file;
