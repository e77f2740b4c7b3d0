-- Which curated pairs name other entries than they were matched with?
SELECT shard, uid, entry_id, entry
FROM (SELECT shard, uid, unnest(entries) AS entry_id, unnest(matched) AS entry FROM curated_pairs)
ANTI JOIN entry_counts USING (entry_id, entry)
ORDER BY shard, uid, entry_id
