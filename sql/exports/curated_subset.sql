-- Which pairs did a seed draw, as a sorted file of the two 64-bit halves of each uid?
-- The seed is $seed. A uid that is not 32 hex digits has no halves: it comes first, with its shard. As in
-- exports/datacomp_subset it goes to a file, and RETURN_FILES gives the statement a result.
COPY (
    WITH drawn AS (
        SELECT shard, uid, regexp_full_match(uid, '[0-9A-Fa-f]{32}') AS is_hex
        FROM curated_pairs
        WHERE list_contains(seeds, $seed::INTEGER)
    )
    SELECT
        CASE WHEN is_hex THEN ('0x' || left(uid, 16))::UBIGINT END AS high,
        CASE WHEN is_hex THEN ('0x' || right(uid, 16))::UBIGINT END AS low,
        CASE WHEN NOT is_hex THEN shard END AS refused_shard,
        CASE WHEN NOT is_hex THEN uid END AS refused_uid
    FROM drawn
    ORDER BY high NULLS FIRST, low, refused_shard, refused_uid
) TO $file (FORMAT parquet, COMPRESSION uncompressed, RETURN_FILES)
