-- Which images that are maps have no row among the page maps, and which rows no such image?
WITH images AS (SELECT crawl_file, document_id, image, sha256 FROM page_images WHERE is_map),
maps AS (SELECT crawl_file, document_id, image, sha256 FROM page_maps)
SELECT 'map without row' AS fault, * FROM (SELECT * FROM images EXCEPT ALL SELECT * FROM maps)
UNION ALL
SELECT 'row without map' AS fault, * FROM (SELECT * FROM maps EXCEPT ALL SELECT * FROM images)
ORDER BY crawl_file, document_id, image, fault
