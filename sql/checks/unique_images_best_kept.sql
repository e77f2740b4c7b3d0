-- Which images are preferred to the one that is kept for them?
-- More pixels come before more bytes, these before a higher score (none comes last), then the smaller shard and uid.
WITH preferred AS (
    SELECT
        shard,
        uid,
        struct_pack(
            pixels := -width::BIGINT * height, bytes := -bytes, score := coalesce(-map_score, 'infinity'::FLOAT),
            shard := shard, uid := uid
        ) AS preference
    FROM map_images
    LEFT JOIN (SELECT shard, uid, map_score FROM shard_maps) USING (shard, uid)
    WHERE status = 'ok'
)
SELECT listed.shard, listed.uid, representative_shard, representative_uid
FROM unique_images AS listed
JOIN preferred AS one ON one.shard = listed.shard AND one.uid = listed.uid
JOIN preferred AS kept ON kept.shard = representative_shard AND kept.uid = representative_uid
WHERE NOT listed.is_kept AND one.preference < kept.preference
ORDER BY listed.shard, listed.uid
