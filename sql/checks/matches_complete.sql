-- Which texts are there twice, or with entries out of order, outside the list, or other ones than the same text before?
-- Whether entries are in the list is asked of the shards that were matched with the list as it is now.
WITH made AS (
    SELECT
        partition AS shard,
        rows_in,
        CASE WHEN inputs ->> '$.entries_sha256' = listed.entries_sha256 THEN listed.entries END AS entries_listed
    FROM lineage_of('curation/matches', $shards::VARCHAR[])
    CROSS JOIN (
        SELECT measures ->> '$.entries_sha256' AS entries_sha256, rows_kept AS entries
        FROM lineage_of('curation/entries', NULL)
    ) AS listed
),
matched AS (
    SELECT *
    FROM matches
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
),
copied AS (SELECT shard, "row" FROM matched GROUP BY ALL HAVING count(*) > 1),
firsts AS (SELECT shard, "row" AS text_id, hash(entries) AS entries_hash FROM matched WHERE "row" = text_id)
SELECT DISTINCT shard, "row", uid, text_id, entries
FROM matched
JOIN made USING (shard)
LEFT JOIN firsts USING (shard, text_id)
LEFT JOIN copied USING (shard, "row")
WHERE copied.shard IS NOT NULL
   OR uid IS NULL
   OR ("row" BETWEEN 0 AND rows_in - 1 AND text_id BETWEEN 0 AND "row") IS NOT TRUE
   OR hash(entries) IS DISTINCT FROM entries_hash
   OR entries IS DISTINCT FROM list_sort(list_distinct(entries))
   OR entries[1] < 0
   OR entries[-1] >= entries_listed
ORDER BY shard, "row"
