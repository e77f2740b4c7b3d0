-- Which images are given to a place, prompt or rank other than that of the most similar prompt that found them?
WITH best AS (
    SELECT shard, "row", max(similarity) AS most_similar
    FROM neighbours
    GROUP BY ALL
)
SELECT listed.shard, listed."row", listed.place_id, listed.prompt, listed.rank, listed.similarity, most_similar
FROM geo_images AS listed
JOIN best USING (shard, "row")
WHERE listed.similarity IS DISTINCT FROM most_similar
   OR NOT EXISTS (
        SELECT 1
        FROM neighbours
        JOIN place_queries USING (query)
        WHERE neighbours.shard = listed.shard
          AND neighbours."row" = listed."row"
          AND neighbours.similarity = listed.similarity
          AND neighbours.rank = listed.rank
          AND place_queries.place_id = listed.place_id
          AND place_queries.prompt = listed.prompt
    )
ORDER BY listed.shard, listed."row"
