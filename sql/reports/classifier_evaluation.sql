-- How accurate is each method on the evaluation images?
SELECT * FROM classifier_evaluation ORDER BY accuracy, method
