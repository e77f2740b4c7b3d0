-- Which fetched images are not in the table of unique images exactly once, and which of its rows are no fetched image?
WITH fetched AS (SELECT shard, uid FROM map_images WHERE status = 'ok'),
listed AS (SELECT shard, uid FROM unique_images)
SELECT shard, uid, 'not listed' AS fault FROM (FROM fetched EXCEPT ALL FROM listed)
UNION ALL
SELECT shard, uid, 'not fetched, or listed twice' AS fault FROM (FROM listed EXCEPT ALL FROM fetched)
ORDER BY shard, uid
