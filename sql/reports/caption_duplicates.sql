-- Which captions occur most often, word for word?
SELECT text AS caption, count(*) AS maps, count(DISTINCT shard) AS shards, min(url) AS first_url
FROM shard_maps
GROUP BY text
HAVING count(*) > 1
ORDER BY maps DESC, caption
LIMIT 20
