-- Which media URLs are in media_urls more than once, or in a part that is not theirs?
SELECT kind, url, count(*) AS copies, list_sort(list(DISTINCT part)) AS parts
FROM media_urls
GROUP BY kind, url
HAVING count(*) > 1 OR NOT bool_and(md5(url)[:2] BETWEEN part[:2] AND part[4:])
ORDER BY kind, url;
