-- What became of the maps' images when they were fetched, by reason and HTTP code?
-- A dead link does not give the image any more. What was kept out is not dead: by the site's or its owner's wish, by a
-- take-down list, or by our own bounds.
SELECT
    status,
    try_cast(regexp_extract(status, '^http_(\d\d\d)$', 1) AS SMALLINT) AS http_code,
    CASE
        WHEN status = 'ok' THEN 'fetched'
        WHEN status IN ('robots_txt', 'opted_out', 'taken_down', 'blocked_address', 'too_large', 'too_many_pixels', 'bad_uid')
            THEN 'kept out'
        ELSE 'dead link'
    END AS outcome,
    count(*) AS images,
    count(*) / sum(count(*)) OVER () AS images_share
FROM map_images
GROUP BY status
ORDER BY images DESC, status
