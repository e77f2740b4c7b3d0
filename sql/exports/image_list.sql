-- Which addresses does img2dataset fetch for the images of places?
COPY (
    SELECT *
    FROM geo_images
    WHERE dropped IS NULL
    ORDER BY place_id, similarity DESC, shard, "row"
) TO $file (FORMAT parquet, RETURN_FILES)
