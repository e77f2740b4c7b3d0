-- Which near duplicates are attached to an image that is dropped as one itself, is less similar to its place, or is none?
-- The image that is kept may be over its domain's quota: it is then no near duplicate, and still stands for the others.
WITH limits AS (
    SELECT (inputs ->> '$.duplicate_similarity')::FLOAT AS least_similarity
    FROM lineage_of('geo_subset/geo_images', NULL)
)
SELECT listed.shard, listed."row", listed.dropped, listed.duplicate_of, listed.duplicate_similarity
FROM geo_images AS listed
CROSS JOIN limits
LEFT JOIN geo_images AS kept
    ON kept.shard = listed.duplicate_of_shard AND kept.uid = listed.duplicate_of
WHERE (listed.dropped IS NOT DISTINCT FROM 'near_duplicate') IS DISTINCT FROM (listed.duplicate_of IS NOT NULL)
   OR (listed.duplicate_of IS NOT NULL AND (
        kept.uid IS NULL
        OR coalesce(kept.dropped, 'over_domain_quota') <> 'over_domain_quota'
        OR kept.similarity < listed.similarity
        OR (listed.duplicate_similarity BETWEEN least_similarity AND 1) IS NOT TRUE
        OR kept.group_size <> listed.group_size
    ))
ORDER BY listed.shard, listed."row"
