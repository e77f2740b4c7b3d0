-- Of which crawl files were images scored in other packed pages than are there now, such as pages since taken down?
SELECT images.partition AS crawl_file, images.inputs ->> '$.packed_documents' AS scored,
       coalesce(packs.measures ->> '$.documents_sha256', packs.fingerprint) AS packed
FROM lineage_of('web_documents/page_images', NULL) AS images
LEFT JOIN lineage_of('web_documents/packed_documents', NULL) AS packs USING (partition)
WHERE scored IS DISTINCT FROM packed
ORDER BY crawl_file
