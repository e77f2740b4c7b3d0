-- What made each partition of each table?
SELECT "table", partition, fingerprint, inputs::VARCHAR AS inputs, rows_in, rows_kept, to_json(rows_dropped)::VARCHAR AS rows_dropped
FROM lineage
ORDER BY "table", partition
