-- How many images did each place ask for, find and keep?
-- The place with the most images comes first; mappool_assets.lib.geo_subset.place_counts says what is counted.
SELECT
    place_id,
    place,
    country,
    latitude,
    longitude,
    prompts,
    requested,
    retrieved,
    best_here,
    eligible,
    after_duplicates,
    returned
FROM place_counts
ORDER BY returned DESC, place_id
