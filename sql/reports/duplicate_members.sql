-- Which images are in the largest groups of duplicates?
-- Of each group the image that is kept, then the first of each relation, the second of each, and so on, as many as
-- $images says; of as many groups, the largest first, as $groups says; 6 each, unless they are said.
WITH largest AS (
    SELECT shard AS representative_shard, uid AS representative_uid
    FROM unique_images
    WHERE is_kept AND group_size > 1
    ORDER BY group_size DESC, shard, uid
    LIMIT coalesce($groups, 6)
),
members AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY representative_shard, representative_uid, relation ORDER BY uid, shard
        ) AS place_in_relation
    FROM unique_images
    SEMI JOIN largest USING (representative_shard, representative_uid)
),
chosen AS (
    SELECT *
    FROM members
    QUALIFY row_number() OVER (
        PARTITION BY representative_shard, representative_uid ORDER BY is_kept DESC, place_in_relation, relation
    ) <= coalesce($images, 6)
)
SELECT
    representative_shard, representative_uid, group_size, relation, hash_distance, similarity,
    shard, uid, url, text, map_score
FROM shard_maps
JOIN chosen USING (shard, uid)
ORDER BY
    group_size DESC, representative_shard, representative_uid, is_kept DESC, place_in_relation, relation, shard, uid
