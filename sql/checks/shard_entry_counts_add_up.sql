-- Which entries are counted otherwise in a shard than its texts match them?
WITH recounted AS (
    SELECT shard, entry_id, count(*) AS texts
    FROM (SELECT shard, unnest(entries) AS entry_id FROM matches)
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
    GROUP BY ALL
),
counted AS (
    SELECT shard, entry_id, texts
    FROM shard_entry_counts
    WHERE $shards::VARCHAR[] IS NULL OR list_contains($shards, shard)
)
SELECT shard, entry_id, counted.texts AS counted, recounted.texts AS matched
FROM counted
FULL JOIN recounted USING (shard, entry_id)
WHERE counted.texts IS DISTINCT FROM recounted.texts
ORDER BY shard, entry_id
