-- Which fetched images lack a fact or have another sha256 than expected, and which others lack a reason or claim a file?
SELECT shard, uid, status, attempts, file, extension, mime, width, height, bytes, sha256, expected_sha256
FROM map_images
WHERE ($shards::VARCHAR[] IS NULL OR list_contains($shards, shard))
  AND CASE status
      WHEN 'ok' THEN
          attempts >= 1
          AND file <> '' AND extension <> '' AND mime LIKE 'image/%'
          AND width >= 1 AND height >= 1 AND bytes >= 1
          AND length(sha256) = 64 AND regexp_full_match(sha256, '[0-9a-f]+')
          AND sha256 = coalesce(nullif(lower(expected_sha256), ''), sha256)
          AND perceptual_hash IS NOT NULL AND perceptual_hash_mirrored IS NOT NULL
      ELSE
          status <> '' AND attempts >= 0
          AND coalesce(
              file, extension, mime, sha256, width::VARCHAR, height::VARCHAR, bytes::VARCHAR,
              perceptual_hash::VARCHAR, perceptual_hash_mirrored::VARCHAR
          ) IS NULL
      END IS NOT TRUE
ORDER BY shard, uid
