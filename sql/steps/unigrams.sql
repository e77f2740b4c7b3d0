-- Which words occur at least $least times, the most frequent ones first?
SELECT first AS entry
FROM read_parquet($files)
WHERE second = '' AND n >= $least
ORDER BY n DESC, first;
