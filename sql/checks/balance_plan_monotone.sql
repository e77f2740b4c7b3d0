-- For which t are fewer pairs planned than for a smaller one, or more than there are texts?
-- balance_growth has the same for the first shards alone. Sums are rounded: a billionth less is not less, be it of the
-- size or, where t is so small that hardly any is kept, of a pair.
WITH planned AS (
    SELECT
        'balance_plan' AS "table", (measures ->> '$.shards')::BIGINT AS shards, t, expected_size, sd_size,
        least((measures ->> '$.matched_texts')::BIGINT, matches_kept) AS most, matches_kept, tail_share
    FROM balance_plan
    CROSS JOIN lineage_of('curation/balance_plan', NULL)
    UNION ALL
    SELECT 'balance_growth' AS "table", shards, t, expected_size, sd_size, texts AS most, NULL, NULL
    FROM balance_growth
),
compared AS (
    SELECT
        *,
        max(expected_size) OVER smaller AS expected_before,
        max(matches_kept) OVER smaller AS matches_before,
        max(tail_share) OVER smaller AS tail_before
    FROM planned
    WINDOW smaller AS (
        PARTITION BY "table", shards ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
)
SELECT "table", shards, t, expected_size, expected_before, most, sd_size, matches_kept, tail_share
FROM compared
WHERE (t > 0 AND sd_size >= 0 AND expected_size BETWEEN 0 AND most * (1 + 1e-9) + 1e-9) IS NOT TRUE
   OR expected_size < expected_before * (1 - 1e-9) - 1e-9
   OR matches_kept < matches_before * (1 - 1e-9)
   OR tail_share < tail_before * (1 - 1e-9)
   OR tail_share NOT BETWEEN 0 AND 1 + 1e-9
ORDER BY "table", shards, t
