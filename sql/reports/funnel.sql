-- How many rows entered and left each stage, and why were the others dropped?
WITH stages AS (
    SELECT "table", count(*) AS partitions, sum(rows_in)::BIGINT AS rows_in, sum(rows_kept)::BIGINT AS rows_kept
    FROM lineage
    -- The others keep books on these stages.
    WHERE "table" NOT IN (
        'mappool/missing_shards', 'mappool/shard_failures', 'mappool/map_image_failures', 'mappool/embedded_chunks',
        'curation/entry_lint', 'curation/match_failures', 'curation/balance_failures', 'curation/counted_shards'
    )
    GROUP BY "table"
),
reasons AS (
    SELECT "table", drop_reason.key AS reason, sum(drop_reason.value)::BIGINT AS rows_dropped
    FROM lineage, unnest(map_entries(rows_dropped)) AS reasons_of_partition(drop_reason)
    GROUP BY ALL
    HAVING sum(drop_reason.value) > 0
)
SELECT
    "table",
    partitions,
    rows_in,
    rows_kept,
    coalesce(sum(rows_dropped), 0)::BIGINT AS rows_dropped,
    coalesce(
        string_agg(reason || ' ' || rows_dropped, ', ' ORDER BY rows_dropped DESC, reason), ''
    ) AS dropped_by_reason
FROM stages
LEFT JOIN reasons USING ("table")
GROUP BY ALL
ORDER BY "table"
