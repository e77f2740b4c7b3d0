-- Which texts are left with more images than the settings allow?
WITH settings AS (
    SELECT nullif((inputs ->> '$.text_copies')::BIGINT, 0) AS text_copies -- 0 sets no limit
    FROM lineage_of('curation/unique_pairs', NULL)
),
repeated AS (
    SELECT text_hash, count(*) AS copies, text_copies
    FROM (SELECT hash(text) AS text_hash FROM unique_pairs)
    CROSS JOIN settings
    GROUP BY text_hash, text_copies
    HAVING count(*) > text_copies
)
SELECT text, copies, text_copies, list(shard || '/' || uid ORDER BY shard, uid) AS pairs
FROM unique_pairs
JOIN repeated ON text_hash = hash(text)
GROUP BY ALL
ORDER BY copies DESC, text
