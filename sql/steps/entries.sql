-- Which entries do the sources have, each once, in the order of the sources and of each one's own?
-- "sources" has a bit for each source that has the entry: the lowest one is the first.
SELECT entry, bit_or(1::USMALLINT << source::USMALLINT)::USMALLINT AS sources, count(*) AS candidates
FROM read_parquet($files)
GROUP BY entry
ORDER BY min((source::BIGINT << 48) + place);
