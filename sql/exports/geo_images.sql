-- Which images of places are published, as files of the places' order?
-- Of the shards $shards, without what is taken down. RETURN_FILES gives the statement a result, as every other has.
COPY (
    WITH corpus AS (SELECT unnest($shards::VARCHAR[]) AS shard),
    taken_down AS (SELECT unnest($taken_down_shards::VARCHAR[]) AS shard, unnest($taken_down_uids::VARCHAR[]) AS uid)
    SELECT *
    FROM geo_images
    SEMI JOIN corpus USING (shard)
    ANTI JOIN taken_down USING (shard, uid)
    WHERE dropped IS NULL
    ORDER BY place_id, similarity DESC, shard, "row"
) TO $file (FORMAT parquet, RETURN_FILES)
