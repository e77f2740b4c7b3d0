-- Which pairs of words occur together at least $least_lift times as often as they would by chance, the most so first?
-- The lift is 2 to the power of the pointwise mutual information: n(first, second) * $words / (n(first) * n(second)).
WITH word AS (SELECT first AS word, n FROM read_parquet($files) WHERE second = ''),
pair AS (SELECT first, second, n FROM read_parquet($files) WHERE second <> '' AND n >= $least)
SELECT pair.first || ' ' || pair.second AS entry
FROM pair
JOIN word AS one ON one.word = pair.first
JOIN word AS other ON other.word = pair.second
WHERE pair.n::DOUBLE * $words / (one.n::DOUBLE * other.n) >= $least_lift
ORDER BY pair.n::DOUBLE * $words / (one.n::DOUBLE * other.n) DESC, pair.first, pair.second;
