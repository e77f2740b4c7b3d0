-- How many places and images does each country have?
SELECT
    country,
    count(*) AS places,
    count_if(returned = 0)::BIGINT AS places_without_images,
    sum(returned)::BIGINT AS images,
    avg(returned) AS mean_images
FROM place_counts
GROUP BY country
ORDER BY images DESC, country
