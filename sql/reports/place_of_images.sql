-- For which place was each image returned?
-- Of the images whose uids $uids lists, or of all.
SELECT uid, place_id, place
FROM geo_images
WHERE dropped IS NULL AND ($uids IS NULL OR list_contains($uids::VARCHAR[], uid))
ORDER BY uid, shard, "row"
