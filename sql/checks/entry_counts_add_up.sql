-- Which entries are counted otherwise than in the counted shards together?
-- A shard that was matched again since is taken as it was when it was counted.
WITH of_counts AS (SELECT * FROM lineage_of('curation/*entry_counts', NULL)), -- of entry_counts and shard_entry_counts
counted AS (
    SELECT of_shard.key AS shard, of_shard.value AS fingerprint
    FROM of_counts, unnest(map_entries((measures -> '$.shards')::MAP(VARCHAR, VARCHAR))) AS shards(of_shard)
    WHERE "table" = 'curation/entry_counts'
),
unchanged AS (
    SELECT shard
    FROM counted
    JOIN of_counts ON partition = shard AND of_counts.fingerprint = counted.fingerprint
    WHERE "table" = 'curation/shard_entry_counts'
),
summed AS (
    SELECT entry_id, sum(texts)::UBIGINT AS texts
    FROM (
        SELECT entry_id, texts FROM shard_entry_counts SEMI JOIN unchanged USING (shard)
        UNION ALL
        SELECT entry_id, texts
        FROM counted_shards
        WHERE counted IN (SELECT shard || '-' || fingerprint FROM counted ANTI JOIN unchanged USING (shard))
    )
    GROUP BY entry_id
)
SELECT entry_id, entry, entry_counts.texts AS counted, coalesce(summed.texts, 0) AS in_shards
FROM entry_counts
FULL JOIN summed USING (entry_id)
WHERE entry_counts.texts IS DISTINCT FROM coalesce(summed.texts, 0)
ORDER BY entry_id
