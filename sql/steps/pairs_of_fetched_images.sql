-- Which image does each pair show that the first balancing kept, going by the images that were fetched and compared?
-- It is the one that is kept for the pair's own; NULL where that was not fetched. Of $images one shard and uid is there
-- once. One row a pair; texts are compared by their MD5, which is 16 bytes: who makes two of one MD5 loses one of them.
SELECT
    pairs.shard,
    pairs."row",
    pairs.uid,
    pairs.text_key,
    images.representative_shard AS image_shard,
    images.representative_uid AS image_uid
FROM (
    SELECT parse_filename(filename, true) AS shard, "row", uid, md5_number(text) AS text_key
    FROM read_parquet($pairs, filename = true)
) AS pairs
LEFT JOIN read_parquet($images) AS images ON images.shard = pairs.shard AND images.uid = pairs.uid;
