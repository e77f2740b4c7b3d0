-- How many texts has each stage of curation left so far, and why were the others dropped?
-- The share of all texts is the product of the stages' own: a later stage may not have come to all shards yet.
WITH lineages AS (SELECT parse_filename("table") AS name, * FROM lineage_of('curation/*', NULL)),
-- Texts without an entry are rows of matches, and dropped by the first pass; here they are a stage of their own.
kept AS (
    SELECT name, count(*) AS partitions, sum(rows_kept)::BIGINT AS pairs_kept
    FROM lineages
    GROUP BY name
    UNION ALL
    SELECT 'matched' AS name, count(*) AS partitions, sum((measures ->> '$.matched_rows')::BIGINT)::BIGINT AS pairs_kept
    FROM lineages
    WHERE name = 'matches'
),
reasons AS (
    SELECT name, drop_reason.key AS reason, sum(drop_reason.value)::BIGINT AS pairs
    FROM lineages, unnest(map_entries(rows_dropped)) AS reasons_of_partition(drop_reason)
    WHERE name <> 'balanced_pool' OR drop_reason.key <> 'no_entry'
    GROUP BY name, reason
    UNION ALL
    SELECT 'matched', 'no_entry', sum(rows_kept - (measures ->> '$.matched_rows')::BIGINT)::BIGINT
    FROM lineages
    WHERE name = 'matches'
),
dropped AS (
    SELECT
        name,
        sum(pairs)::BIGINT AS pairs_dropped,
        string_agg(reason || ' ' || pairs, ', ' ORDER BY pairs DESC, reason) AS dropped_by_reason
    FROM reasons
    WHERE pairs > 0
    GROUP BY name
)
SELECT
    stage,
    partitions,
    pairs_kept + coalesce(pairs_dropped, 0) AS pairs_in,
    pairs_kept,
    pairs_kept / nullif(pairs_in, 0) AS kept_share,
    product(kept_share) OVER (ORDER BY step) AS share_of_texts,
    coalesce(dropped_by_reason, '') AS dropped_by_reason
FROM (
    VALUES
        (1, 'texts', 'matches'),
        (2, 'matched', 'matched'),
        (3, 'first_pass', 'balanced_pool'),
        (4, 'unique', 'unique_pairs'),
        (5, 'curated', 'curated_pairs')
) AS stages(step, stage, name)
JOIN kept USING (name)
LEFT JOIN dropped USING (name)
WHERE partitions > 0
ORDER BY step
