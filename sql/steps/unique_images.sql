-- Which image is each one attached to, by name?
-- $decided has a row an image, with its place and that of the image kept for it, as image_places.sql counts them.
COPY (
    WITH decided AS (SELECT * FROM read_parquet($decided))
    SELECT
        decided.shard,
        decided.uid,
        decided.sha256,
        decided.is_kept,
        kept.shard AS representative_shard,
        kept.uid AS representative_uid,
        decided.relation,
        decided.hash_distance,
        decided.similarity,
        decided.group_size
    FROM decided
    JOIN decided AS kept ON kept.place = decided.representative_place
    ORDER BY decided.shard, decided.uid
) TO $file (FORMAT parquet, RETURN_FILES)
