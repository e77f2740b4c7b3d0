-- Which media URLs does a crawl file show, on pages of which domains, and on how many pages of each?
-- $page_media has a row for each medium of each page. The bucket is the first byte of the URL's MD5.
SELECT
    ('0x' || md5(url)[:2])::UTINYINT AS bucket,
    kind,
    url,
    domain_of(page) AS domain,
    count(*) AS seen
FROM page_media
GROUP BY ALL;
