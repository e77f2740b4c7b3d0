-- In which partitions do rows in differ from rows kept and dropped, or rows kept from the rows in the file?
-- A ledger's file holds all rows in.
SELECT "table", partition, rows_in, rows_kept, rows_dropped, row_count
FROM lineage_of($table::VARCHAR, $partitions::VARCHAR[])
JOIN row_counts_of($table::VARCHAR, $partitions::VARCHAR[]) USING ("table", partition)
WHERE rows_in <> rows_kept + coalesce(list_sum(map_values(rows_dropped)), 0)
   OR row_count <> CASE WHEN is_ledger THEN rows_in ELSE rows_kept END
ORDER BY "table", partition
