-- Of which places were images fetched, and how many?
SELECT place_id, count(*) AS images
FROM geo_images
JOIN map_images USING (shard, uid)
WHERE status = 'ok' AND dropped IS NULL
GROUP BY place_id
ORDER BY images DESC, place_id
