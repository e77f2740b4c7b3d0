-- Which rows of the lint name no entry of the list, or the same one as another row?
SELECT lint.entry_id, lint.entry, lint.reason
FROM entry_lint AS lint
LEFT JOIN entries USING (entry_id, entry)
QUALIFY entries."row" IS NULL OR count(*) OVER (PARTITION BY lint.entry_id) > 1
ORDER BY lint.entry_id, lint.reason
