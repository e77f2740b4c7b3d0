-- How many entries match how many texts, in the pool and among the curated pairs?
-- A row is a decade of numbers of texts. Curated are the first seed's pairs; NULL until there are some.
WITH counts AS (
    SELECT 'pool' AS "in", texts FROM entry_counts
    UNION ALL
    SELECT 'curated' AS "in", curated AS texts FROM curated_entries
),
decades AS (
    SELECT
        CASE WHEN texts = 0 THEN 0 ELSE length(texts::VARCHAR) END AS digits,
        count(*) FILTER ("in" = 'pool') AS entries,
        coalesce(sum(texts) FILTER ("in" = 'pool'), 0)::BIGINT AS matches,
        count(*) FILTER ("in" = 'curated') AS curated_entries,
        coalesce(sum(texts) FILTER ("in" = 'curated'), 0)::BIGINT AS curated_matches
    FROM counts
    GROUP BY digits
)
SELECT
    CASE WHEN digits = 0 THEN 0 ELSE 10 ** (digits - 1) END::BIGINT AS texts_from,
    CASE WHEN digits = 0 THEN 0 ELSE 10 ** digits - 1 END::BIGINT AS texts_to,
    entries,
    matches,
    matches / nullif(sum(matches) OVER (), 0) AS matches_share,
    CASE WHEN sum(curated_entries) OVER () > 0 THEN curated_entries END AS curated_entries,
    CASE WHEN sum(curated_entries) OVER () > 0 THEN curated_matches END AS curated_matches,
    curated_matches / nullif(sum(curated_matches) OVER (), 0) AS curated_matches_share
FROM decades
ORDER BY digits
