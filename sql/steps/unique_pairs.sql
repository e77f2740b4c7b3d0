-- Which pairs stay of those that the first balancing kept, why do the others not, and which one is its image's text?
-- $file has a row a pair, with its image. What decides between pairs is an MD5 of the seed, what is decided, and the
-- pair's uid; of one image and text the pair stays whose own image it is, else the least by uid. Shards decide last.
WITH pairs AS (
    SELECT *, row_number() OVER (PARTITION BY shard, uid ORDER BY "row") AS uid_number
    FROM read_parquet($file)
),
shown AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY image_shard, image_uid, text_key
            ORDER BY (shard = image_shard AND uid = image_uid) DESC, uid, shard
        ) AS pair_number
    FROM pairs
    WHERE uid_number = 1 AND image_uid IS NOT NULL
),
distinct_pairs AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY text_key
            ORDER BY md5_number(concat($seed, ':text:', uid)), uid, shard
        ) AS text_number
    FROM shown
    WHERE pair_number = 1
),
kept AS (
    SELECT
        shard,
        "row",
        row_number() OVER (
            PARTITION BY image_shard, image_uid
            ORDER BY md5_number(concat($seed, ':image:', uid)), uid, shard
        ) = 1 AS is_image_text
    FROM distinct_pairs
    WHERE $text_copies = 0 OR text_number <= $text_copies
)
SELECT
    pairs.shard,
    pairs."row",
    pairs.image_shard,
    pairs.image_uid,
    kept.is_image_text,
    CASE
        WHEN pairs.uid_number > 1 THEN 'repeated_uid'
        WHEN pairs.image_uid IS NULL THEN 'no_image'
        WHEN shown.pair_number > 1 THEN 'duplicate_pair'
        WHEN kept."row" IS NULL THEN 'repeated_text'
    END AS dropped
FROM pairs
LEFT JOIN shown USING (shard, "row")
LEFT JOIN kept USING (shard, "row")
ORDER BY pairs.shard, pairs."row";
