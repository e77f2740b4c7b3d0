-- How similar are the returned images to their places, and how much more than to others and to generic prompts?
-- Steps of 0.01: a step holds what lies from a hundredth of it to before the next.
WITH measured AS (
    UNPIVOT (FROM geo_images WHERE dropped IS NULL)
    ON similarity, place_margin, generic_margin
    INTO NAME measure VALUE figure
)
SELECT measure, floor(100 * figure::DOUBLE)::INTEGER AS step, count(*) AS images
FROM measured
GROUP BY ALL
ORDER BY measure, step
