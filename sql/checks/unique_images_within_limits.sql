-- Which images are not what their relation says, or further from the image kept for them than the settings allow?
-- Distances of hashes are worked out anew.
WITH limits AS (
    SELECT (inputs ->> '$.hash_distance')::INTEGER AS most_bits, (inputs ->> '$.similarity')::FLOAT AS least_similarity
    FROM lineage_of('mappool/unique_images', NULL)
),
pairs AS (
    SELECT
        listed.* EXCLUDE (sha256),
        one.sha256 = kept.sha256 AS is_exact,
        CASE relation
            WHEN 'perceptual' THEN bit_count(xor(one.perceptual_hash, kept.perceptual_hash)::BIT)
            WHEN 'mirrored' THEN least(
                bit_count(xor(one.perceptual_hash, kept.perceptual_hash_mirrored)::BIT),
                bit_count(xor(one.perceptual_hash_mirrored, kept.perceptual_hash)::BIT)
            )
        END AS bits
    FROM unique_images AS listed
    JOIN map_images AS one ON one.shard = listed.shard AND one.uid = listed.uid
    JOIN map_images AS kept ON kept.shard = representative_shard AND kept.uid = representative_uid
    WHERE NOT listed.is_kept
)
SELECT shard, uid, relation, hash_distance, bits, similarity
FROM pairs
CROSS JOIN limits
WHERE (CASE relation
    WHEN 'exact' THEN is_exact AND hash_distance IS NULL AND similarity IS NULL
    WHEN 'perceptual' THEN bits = hash_distance AND bits <= most_bits AND similarity IS NULL
    WHEN 'mirrored' THEN bits = hash_distance AND bits <= most_bits AND similarity IS NULL
    WHEN 'embedding' THEN similarity BETWEEN least_similarity AND 1 AND hash_distance IS NULL
END) IS NOT TRUE
ORDER BY shard, uid
