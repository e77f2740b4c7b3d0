-- Which formats do the fetched images have, by their content, and how many bytes do they take?
SELECT mime, count(*) AS images, sum(bytes)::BIGINT AS image_bytes
FROM map_images
WHERE status = 'ok'
GROUP BY mime
ORDER BY images DESC, mime
