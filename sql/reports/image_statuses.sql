-- What became of the maps' images when they were fetched, by reason and HTTP code?
-- A dead link does not give the image any more. What was kept out is not dead, nor what may come later.
SELECT
    status,
    try_cast(regexp_extract(status, '^http_(\d\d\d)$', 1) AS SMALLINT) AS http_code,
    outcome_of(status) AS outcome,
    count(*) AS images,
    count(*) / sum(count(*)) OVER () AS images_share
FROM map_images
GROUP BY status
ORDER BY images DESC, status
