-- Of which kind of media do the parts of media_urls say another number of pages than all crawl files together?
SELECT kind, coalesce(of_files.seen, 0) AS seen_in_files, coalesce(of_parts.seen, 0) AS seen_in_parts
FROM (SELECT kind, sum(seen) AS seen FROM file_media_urls GROUP BY kind) AS of_files
FULL JOIN (SELECT kind, sum(seen) AS seen FROM media_urls GROUP BY kind) AS of_parts USING (kind)
WHERE of_files.seen IS DISTINCT FROM of_parts.seen
ORDER BY kind;
