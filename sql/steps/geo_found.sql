-- Which place is each found image's best, and in which order of preference do the images come?
-- Best is the place of the most similar prompt; of equals the one with more inhabitants, then the smaller id, then the
-- prompt that comes first. More similar images are preferred; shard and row settle the rest, and numbers count from 0.
-- One row an image, by shard and row. It goes to a file: it may have tens of millions of rows.
COPY (
    WITH choices AS (
        SELECT
            shard,
            "row",
            uid,
            query,
            similarity,
            rank,
            row_number() OVER (
                PARTITION BY shard, "row"
                ORDER BY similarity DESC, population DESC NULLS LAST, place_id, query
            ) AS choice
        FROM neighbours
        JOIN place_queries USING (query)
    )
    SELECT
        * EXCLUDE (choice),
        (row_number() OVER (ORDER BY similarity DESC, shard, "row") - 1)::INTEGER AS number
    FROM choices
    WHERE choice = 1
    ORDER BY shard, "row"
) TO $file (FORMAT parquet, RETURN_FILES)
