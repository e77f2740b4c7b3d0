-- How often was each title viewed, the most viewed first? $files hold the views of single hours or months.
SELECT title, sum(views)::BIGINT AS views
FROM read_parquet($files)
GROUP BY title
ORDER BY sum(views) DESC, title;
