-- How many returned images lie in shards that are published as they were searched, and in such that changed since?
-- $chosen and $changed list the shards.
SELECT
    count(*) AS images,
    count_if(list_contains($chosen::VARCHAR[], shard))::BIGINT AS chosen,
    count_if(list_contains($changed::VARCHAR[], shard))::BIGINT AS changed
FROM geo_images
WHERE dropped IS NULL
