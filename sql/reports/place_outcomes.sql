-- What became of the images that the places' prompts found?
WITH outcomes AS (SELECT coalesce(dropped, 'returned') AS outcome FROM geo_images)
SELECT outcome, count(*) AS images, count(*) / sum(count(*)) OVER () AS images_share
FROM outcomes
GROUP BY outcome
ORDER BY list_position(
    ['returned', 'below_min_similarity', 'unsafe', 'near_duplicate', 'over_domain_quota'], outcome
)
