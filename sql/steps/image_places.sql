-- In which order of preference are the images that were fetched, and where does the first of the same bytes stand?
-- More pixels come before more bytes, these before a higher score; shard and uid settle the rest. One row an image, by
-- shard and uid; places count from 0. It goes to a file because 75 million rows are more than memory should hold.
COPY (
    WITH images AS (
        SELECT
            map_images.shard,
            map_images.uid,
            map_images.sha256,
            map_images.perceptual_hash,
            map_images.perceptual_hash_mirrored,
            row_number() OVER (
                ORDER BY
                    width::BIGINT * height DESC, bytes DESC, map_score DESC NULLS LAST, map_images.shard, map_images.uid
            ) - 1 AS place
        FROM map_images
        LEFT JOIN shard_maps USING (shard, uid)
        WHERE status = 'ok'
    )
    SELECT *, min(place) OVER (PARTITION BY sha256) AS first_place
    FROM images
    ORDER BY shard, uid
) TO $file (FORMAT parquet, RETURN_FILES)
