-- How many pairs did two seeds both draw, and how many were to be expected?
-- The overlap is their share of what at least one of the two drew. Deviations are in standard deviations.
WITH made AS (
    SELECT
        (inputs -> '$.seeds')::INTEGER[] AS seeds,
        (measures -> '$.together')::BIGINT[][] AS together,
        (measures ->> '$.expected_together')::DOUBLE AS expected_together,
        (measures ->> '$.sd_together')::DOUBLE AS sd_together
    FROM lineage_of('curation/curated_pairs', NULL)
),
numbers AS (SELECT unnest(range(1, len(seeds) + 1)) AS number FROM made),
couples AS (
    SELECT
        first.number AS first_number,
        other.number AS other_number,
        seeds[first.number] AS seed,
        seeds[other.number] AS other_seed,
        together[first.number][other.number] AS pairs,
        together[first.number][first.number] + together[other.number][other.number] AS drawn,
        expected_together,
        sd_together
    FROM made, numbers AS first, numbers AS other
    WHERE first.number < other.number
)
SELECT
    seed,
    other_seed,
    pairs,
    expected_together,
    sd_together,
    (pairs - expected_together) / nullif(sd_together, 0) AS deviations,
    coalesce(pairs / nullif(drawn - pairs, 0), 0)::DOUBLE AS overlap
FROM couples
ORDER BY first_number, other_number
