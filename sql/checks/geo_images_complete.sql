-- Which images that a prompt found are not in the table of images exactly once, and which of its rows did none find?
WITH found AS (SELECT DISTINCT shard, "row" FROM neighbours),
listed AS (SELECT shard, "row" FROM geo_images)
SELECT shard, "row", 'not listed' AS fault FROM (FROM found EXCEPT ALL FROM listed)
UNION ALL
SELECT shard, "row", 'not found by a prompt, or listed twice' AS fault FROM (FROM listed EXCEPT ALL FROM found)
ORDER BY shard, "row"
