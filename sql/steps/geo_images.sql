-- What became of each found image, with its place and metadata?
-- $described has a row an image with its number, metadata and measures, $decided its number, that of the image that it
-- is a duplicate of, and why it was dropped so far. The quota: of what is left, a place keeps the most similar images
-- of a domain, $most_a_domain at most (NULL: all).
COPY (
    WITH described AS (SELECT * FROM read_parquet($described)),
    decided AS (
        SELECT *, count(*) OVER (PARTITION BY representative)::INTEGER AS group_size FROM read_parquet($decided)
    ),
    images AS (
        SELECT
            described.*,
            domain_of(url) AS domain,
            decided.representative,
            decided.duplicate_similarity,
            decided.group_size,
            decided.dropped
        FROM described
        JOIN decided USING (number)
    ),
    placed AS (
        SELECT images.*, place_id, place, prompt, country, latitude, longitude
        FROM images
        JOIN place_queries USING (query)
    ),
    ranked AS (
        SELECT
            *,
            row_number() OVER (PARTITION BY place_id, domain, dropped IS NULL ORDER BY number) AS rank_in_domain
        FROM placed
    ),
    names AS (SELECT number, shard, uid FROM described)
    SELECT
        ranked.shard,
        ranked."row",
        ranked.uid,
        place_id,
        place,
        prompt,
        country,
        latitude,
        longitude,
        rank,
        similarity,
        place_margin,
        generic_margin,
        unsafe_score,
        CASE WHEN dropped IS NULL AND rank_in_domain > $most_a_domain THEN 'over_domain_quota' ELSE dropped END
            AS dropped,
        names.uid AS duplicate_of,
        names.shard AS duplicate_of_shard,
        duplicate_similarity,
        group_size,
        url,
        text,
        original_width,
        original_height,
        sha256,
        map_score,
        domain
    FROM ranked
    LEFT JOIN names ON names.number = ranked.representative AND ranked.representative <> ranked.number
    ORDER BY place_id, ranked.number
) TO $file (FORMAT parquet, RETURN_FILES)
