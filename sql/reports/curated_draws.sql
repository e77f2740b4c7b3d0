-- How many pairs did each seed draw, and how many were to be expected?
-- Deviations are in standard deviations.
WITH made AS (
    SELECT
        (inputs -> '$.seeds')::INTEGER[] AS seeds,
        (measures -> '$.drawn')::BIGINT[] AS drawn,
        (measures ->> '$.expected_pairs')::DOUBLE AS expected_pairs,
        (measures ->> '$.sd_pairs')::DOUBLE AS sd_pairs
    FROM lineage_of('curation/curated_pairs', NULL)
),
draws AS (
    SELECT generate_subscripts(seeds, 1) AS number, unnest(seeds) AS seed, unnest(drawn) AS pairs, expected_pairs, sd_pairs
    FROM made
)
SELECT seed, pairs, expected_pairs, sd_pairs, (pairs - expected_pairs) / nullif(sd_pairs, 0) AS deviations
FROM draws
ORDER BY number
