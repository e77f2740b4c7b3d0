-- How many maps may the screen have cost, by the sample of what it refused?
-- miss_rate_upper is a 95 % bound by Anscombe's root of a Poisson count, on the safe side: 3.3 / sampled without a miss,
-- where the exact bound is 3.0 / sampled. Each shard's own exact bound is in its metadata.
-- Where no row was refused, or no screen was used, it is 0; without a sample of refused rows it is 1.
WITH audits AS (
    SELECT
        inputs ->> '$.screen_id' AS screen_id,
        count(*) AS shards,
        sum(rows_in)::BIGINT AS rows_in,
        sum(rows_kept)::BIGINT AS rows_kept,
        coalesce(sum((measures ->> '$.screen.refused')::BIGINT), 0)::BIGINT AS refused,
        coalesce(sum((measures ->> '$.screen.sampled')::BIGINT), 0)::BIGINT AS sampled,
        coalesce(sum((measures ->> '$.screen.missed')::BIGINT), 0)::BIGINT AS missed
    FROM lineage_of('mappool/shard_maps', NULL)
    GROUP BY ALL
)
SELECT
    *,
    CASE
        WHEN refused = 0 THEN 0
        WHEN sampled = 0 THEN 1
        ELSE least(1, (sqrt(missed + 1) + 0.8225) ** 2 / sampled)
    END::DOUBLE AS miss_rate_upper,
    ceil(miss_rate_upper * refused)::BIGINT AS missed_maps_upper
FROM audits
ORDER BY screen_id
