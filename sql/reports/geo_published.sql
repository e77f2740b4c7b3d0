-- How many returned images, of how many places, are published, and how many lie in shards that changed since?
-- $chosen lists the shards that are published as they were searched, $changed those that are published otherwise; what
-- is taken down is not published, as in exports/geo_images.
WITH taken_down AS (
    SELECT unnest($taken_down_shards::VARCHAR[]) AS shard, unnest($taken_down_uids::VARCHAR[]) AS uid
),
returned AS (
    SELECT
        place_id,
        list_contains($chosen::VARCHAR[], shard) AS is_chosen,
        list_contains($changed::VARCHAR[], shard) AS is_changed,
        EXISTS (
            SELECT 1 FROM taken_down WHERE taken_down.shard = geo_images.shard AND taken_down.uid = geo_images.uid
        ) AS is_taken_down
    FROM geo_images
    WHERE dropped IS NULL
)
SELECT
    count(*) AS images,
    count(*) FILTER (is_chosen AND NOT is_taken_down) AS published,
    count(DISTINCT place_id) FILTER (is_chosen AND NOT is_taken_down) AS places,
    count(*) FILTER (is_chosen AND is_taken_down) AS taken_down,
    count(*) FILTER (is_changed) AS changed
FROM returned
