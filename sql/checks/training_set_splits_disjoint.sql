-- Is any image, by its bytes or by its perceptual hash, in more than one split of the training set?
WITH hashes AS (
    SELECT 'sha256' AS hash_kind, sha256::VARCHAR AS hash, split, name FROM training_set
    UNION ALL
    SELECT 'phash' AS hash_kind, phash::VARCHAR AS hash, split, name FROM training_set
)
SELECT hash_kind, hash, list(DISTINCT split ORDER BY split) AS splits, list(name ORDER BY name) AS names
FROM hashes
WHERE hash IS NOT NULL
GROUP BY hash_kind, hash
HAVING count(DISTINCT split) > 1
ORDER BY hash_kind, hash
