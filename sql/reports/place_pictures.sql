-- Which fetched images are the most similar to their places?
-- 8 of a place, unless $images says how many; of the places that $places lists, or of all.
SELECT place_id, shard, uid, geo_images.url, text, similarity
FROM geo_images
JOIN map_images USING (shard, uid)
WHERE status = 'ok' AND dropped IS NULL AND ($places IS NULL OR list_contains($places::VARCHAR[], place_id))
QUALIFY row_number() OVER (PARTITION BY place_id ORDER BY similarity DESC, shard, "row") <= coalesce($images, 8)
ORDER BY place_id, similarity DESC, shard, "row"
