-- How many of the fetched images are duplicates, and of which kind?
-- A group is an image that is kept with all that is attached to it; one with two kinds of duplicates counts under both.
WITH images AS (
    SELECT
        coalesce(relation, 'kept') AS kind,
        representative_shard || '/' || representative_uid AS representative,
        hash_distance,
        similarity
    FROM unique_images
)
SELECT
    kind AS relation,
    count(*) AS images,
    count(*) / sum(count(*)) OVER () AS share,
    count(DISTINCT representative) AS groups,
    avg(hash_distance) AS mean_hash_distance,
    avg(similarity) AS mean_similarity
FROM images
GROUP BY kind
ORDER BY list_position(['kept', 'exact', 'perceptual', 'mirrored', 'embedding'], kind)
