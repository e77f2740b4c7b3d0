-- Which image does each pair show that the first balancing kept, going by the sha256 that the pool lists?
-- Pairs of one sha256 show one image, named after the least of them by uid, then shard; a pair without one has its own.
-- A row whose uid an earlier one of its shard has names none: two images would have the same name.
-- One row a pair; texts are compared by their MD5, which is 16 bytes: who makes two of one MD5 loses one of them.
WITH pairs AS (
    SELECT
        parse_filename(filename, true) AS shard,
        "row",
        uid,
        md5_number(text) AS text_key,
        nullif(lower(sha256), '') AS sha256
    FROM read_parquet($pairs, filename = true)
),
images AS (
    SELECT sha256, min({'uid': uid, 'shard': shard}) AS image
    FROM (FROM pairs QUALIFY row_number() OVER (PARTITION BY shard, uid ORDER BY "row") = 1)
    WHERE sha256 IS NOT NULL
    GROUP BY sha256
)
SELECT
    pairs.shard,
    pairs."row",
    pairs.uid,
    pairs.text_key,
    coalesce(images.image.shard, pairs.shard) AS image_shard,
    coalesce(images.image.uid, pairs.uid) AS image_uid
FROM pairs
LEFT JOIN images USING (sha256);
