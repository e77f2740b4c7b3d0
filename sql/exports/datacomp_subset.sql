-- Which pairs of the pool are published, as a sorted file of the two 64-bit halves of each uid?
-- A uid that is not 32 hex digits has no halves: it comes first, with its shard. It goes to a file because 75 million
-- of them are more than memory should hold; RETURN_FILES gives the statement a result, as every other has.
COPY (
    WITH corpus AS (SELECT unnest($shards::VARCHAR[]) AS shard),
    taken_down AS (SELECT unnest($taken_down_shards::VARCHAR[]) AS shard, unnest($taken_down_uids::VARCHAR[]) AS uid),
    published AS (
        SELECT shard, uid, coalesce(regexp_full_match(uid, '[0-9A-Fa-f]{32}'), false) AS is_hex
        FROM shard_maps
        SEMI JOIN corpus USING (shard)
        ANTI JOIN taken_down USING (shard, uid)
    )
    SELECT
        CASE WHEN is_hex THEN ('0x' || left(uid, 16))::UBIGINT END AS high,
        CASE WHEN is_hex THEN ('0x' || right(uid, 16))::UBIGINT END AS low,
        CASE WHEN NOT is_hex THEN shard END AS refused_shard,
        CASE WHEN NOT is_hex THEN uid END AS refused_uid
    FROM published
    ORDER BY high NULLS FIRST, low, refused_shard, refused_uid
) TO $file (FORMAT parquet, COMPRESSION uncompressed, RETURN_FILES)
