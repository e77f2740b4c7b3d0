-- How often does each word, and each pair of words that follow each other, occur in all parts of a corpus?
-- $files hold the counts of parts; where "second" is empty, a row counts a word.
SELECT first, second, sum(n)::BIGINT AS n
FROM read_parquet($files)
GROUP BY first, second;
