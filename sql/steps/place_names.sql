-- Which names do places have, those of more people first?
SELECT name AS entry
FROM read_parquet($files)
ORDER BY population DESC NULLS LAST, name;
