-- Which unique pairs are no pairs of the first pass as they were drawn, or are there twice?
WITH pairs AS (SELECT shard, uid, first_p, hash(url, text, sha256, entries) AS row_hash FROM unique_pairs),
balanced AS (SELECT shard, uid, first_p, hash(url, text, sha256, entries) AS row_hash FROM balanced_pool)
SELECT shard, uid, first_p FROM (FROM pairs EXCEPT ALL FROM balanced)
ORDER BY shard, uid
