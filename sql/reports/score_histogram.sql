-- How many rows of the pool have which score, in steps of 0.1?
-- Exact scores, all shards: where a screen refused rows unscored, only the sample of these is in it. The first and the
-- last step take what lies beyond -5 and 5, as lib/shard_filter.py counts them.
WITH counts AS (
    SELECT (measures -> '$.score_counts')::BIGINT[] AS score_counts
    FROM lineage_of('mappool/shard_maps', NULL)
),
steps AS (
    SELECT generate_subscripts(score_counts, 1) - 1 AS step, unnest(score_counts) AS row_count FROM counts
)
SELECT (step - 50) / 10 AS score_from, (step - 49) / 10 AS score_to, sum(row_count)::BIGINT AS row_count
FROM steps
GROUP BY step
ORDER BY step
