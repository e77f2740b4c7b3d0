-- How many captions of maps are there, how many different ones, and how many maps share theirs with another?
SELECT
    coalesce(sum(maps), 0)::BIGINT AS captions,
    count(*) AS distinct_captions,
    count(*) FILTER (WHERE maps > 1) AS repeated_captions,
    coalesce(sum(maps) FILTER (WHERE maps > 1), 0)::BIGINT AS maps_with_repeated_caption
FROM (SELECT text, count(*) AS maps FROM shard_maps GROUP BY text)
