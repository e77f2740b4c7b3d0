-- How many images do the places hold: in all, on average, in the middle, and how many hold none?
SELECT
    count(*) AS places,
    count_if(returned = 0)::BIGINT AS places_without_images,
    coalesce(sum(returned), 0)::BIGINT AS images,
    avg(returned) AS mean_images,
    median(returned) AS median_images,
    avg(returned) FILTER (returned > 0) AS mean_images_where_any,
    median(returned) FILTER (returned > 0) AS median_images_where_any
FROM place_counts
