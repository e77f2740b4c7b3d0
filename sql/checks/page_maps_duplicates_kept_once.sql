-- Which maps of the same bytes are kept twice, and which duplicates name no map that is kept?
SELECT 'kept twice' AS fault, sha256, string_agg(uid, ', ' ORDER BY uid) AS uids
FROM page_maps
WHERE dropped IS NULL
GROUP BY sha256
HAVING count(*) > 1
UNION ALL
SELECT 'no such map' AS fault, sha256, uid AS uids
FROM page_maps
WHERE (dropped IS NULL) <> (duplicate_of IS NULL)
   OR (duplicate_of IS NOT NULL AND duplicate_of NOT IN (SELECT uid FROM page_maps WHERE dropped IS NULL))
ORDER BY fault, sha256, uids
