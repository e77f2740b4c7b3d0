-- Which images are attached to one that is not kept, or in a group whose size is not what it says?
-- What is kept represents itself and has no relation; what is not has one.
WITH groups AS (
    SELECT representative_shard, representative_uid, count(*) AS images
    FROM unique_images
    GROUP BY ALL
)
SELECT listed.shard, listed.uid, listed.is_kept, listed.relation, listed.group_size, images
FROM unique_images AS listed
JOIN groups USING (representative_shard, representative_uid)
LEFT JOIN unique_images AS kept
    ON kept.shard = listed.representative_shard AND kept.uid = listed.representative_uid
WHERE kept.is_kept IS NOT TRUE
   OR listed.is_kept IS DISTINCT FROM (listed.shard = kept.shard AND listed.uid = kept.uid)
   OR listed.is_kept IS DISTINCT FROM (listed.relation IS NULL)
   OR listed.group_size IS DISTINCT FROM images
ORDER BY listed.shard, listed.uid
