-- Which entries are empty, listed twice, or numbered otherwise than by their place in the list?
SELECT entry_id, "row", entry, count(*) OVER (PARTITION BY entry) AS copies
FROM entries
QUALIFY entry_id IS DISTINCT FROM "row" OR coalesce(entry, '') = '' OR copies > 1
ORDER BY "row"
