-- How does SQL see the lake? A view per table; a view whose files are not there yet is left out.

-- What made the given partitions of a table: NULL means all partitions, or all tables. Only the footers of the files
-- named are read, which is why this is a macro: parquet_kv_metadata opens every file before a WHERE applies.
CREATE MACRO lineage_of(of_table, of_partitions) AS TABLE
WITH footers AS (
    SELECT file_name, json(decode(value)) AS provenance
    FROM parquet_kv_metadata(CASE
        WHEN of_table IS NULL THEN ['lake://*/*/*.parquet']
        WHEN of_partitions IS NULL OR len(of_partitions) = 0 THEN ['lake://' || of_table || '/*.parquet']
        ELSE list_transform(of_partitions, LAMBDA p: 'lake://' || of_table || '/' || p || '.parquet')
    END)
    WHERE key = 'mappool_assets'::BLOB
)
SELECT
    parse_dirpath(replace(file_name, 'lake://', '')) AS "table",
    parse_filename(file_name, true) AS partition,
    provenance ->> '$.fingerprint' AS fingerprint,
    provenance -> '$.inputs' AS inputs,
    provenance -> '$.origin' AS origin,
    provenance -> '$.measures' AS measures,
    -- A ledger holds all rows in, not only those kept.
    coalesce((provenance ->> '$.is_ledger')::BOOLEAN, false) AS is_ledger,
    (provenance ->> '$.rows_in')::BIGINT AS rows_in,
    (provenance ->> '$.rows_kept')::BIGINT AS rows_kept,
    (provenance -> '$.rows_dropped')::MAP(VARCHAR, BIGINT) AS rows_dropped
FROM footers
WHERE of_partitions IS NULL OR list_contains(of_partitions, parse_filename(file_name, true));

-- The rows really in the files, beside what their provenance says.
CREATE MACRO row_counts_of(of_table, of_partitions) AS TABLE
SELECT
    parse_dirpath(replace(file_name, 'lake://', '')) AS "table",
    parse_filename(file_name, true) AS partition,
    num_rows AS row_count
FROM parquet_file_metadata(CASE
    WHEN of_table IS NULL THEN ['lake://*/*/*.parquet']
    WHEN of_partitions IS NULL OR len(of_partitions) = 0 THEN ['lake://' || of_table || '/*.parquet']
    ELSE list_transform(of_partitions, LAMBDA p: 'lake://' || of_table || '/' || p || '.parquet')
END)
WHERE of_partitions IS NULL OR list_contains(of_partitions, parse_filename(file_name, true));

CREATE VIEW lineage AS SELECT * FROM lineage_of(NULL, NULL);

CREATE VIEW training_set AS SELECT * FROM read_parquet('lake://mappool/training_set/*.parquet');

CREATE VIEW training_set_dropped AS SELECT * FROM read_parquet('lake://mappool/training_set_dropped/*.parquet');

CREATE VIEW training_embeddings AS SELECT * FROM read_parquet('lake://mappool/training_embeddings/*.parquet');

CREATE VIEW classifier_evaluation AS SELECT * FROM read_parquet('lake://mappool/classifier_evaluation/*.parquet');

CREATE VIEW pool_shards AS SELECT * FROM read_parquet('lake://mappool/pool_shards/*.parquet');

-- A listing of the folder, empty rather than absent before the first shard is scored.
CREATE VIEW scored_shards AS
SELECT parse_filename(file, true) AS shard FROM glob('lake://mappool/shard_maps/*.parquet');

-- A filter on shard, also list_contains($shards, shard), keeps the other files from being opened.
CREATE VIEW shard_maps AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS shard
FROM read_parquet('lake://mappool/shard_maps/*.parquet', filename = true);

-- No shard has failed until one has: empty rather than absent.
CREATE VIEW shard_failures AS
SELECT
    NULL::VARCHAR AS shard, NULL::VARCHAR AS error, NULL::VARCHAR AS what, NULL::VARCHAR AS "where",
    NULL::VARCHAR AS rule, NULL::VARCHAR AS got, NULL::VARCHAR AS action
WHERE false;

CREATE OR REPLACE VIEW shard_failures AS SELECT * FROM read_parquet('lake://mappool/shard_failures/*.parquet');

-- No shard is declared missing until something is published.
CREATE VIEW missing_shards AS SELECT NULL::VARCHAR AS shard, NULL::VARCHAR AS reason WHERE false;

CREATE OR REPLACE VIEW missing_shards AS SELECT * FROM read_parquet('lake://mappool/missing_shards/*.parquet');

-- A listing of the folder, empty rather than absent before the first shard's images are fetched.
CREATE VIEW fetched_shards AS
SELECT parse_filename(file, true) AS shard FROM glob('lake://mappool/map_images/*.parquet');

-- No map has an image until one is fetched: empty rather than absent.
CREATE VIEW map_images AS
SELECT
    NULL::VARCHAR AS uid, NULL::VARCHAR AS url, NULL::VARCHAR AS expected_sha256, NULL::VARCHAR AS status,
    NULL::VARCHAR AS detail, NULL::SMALLINT AS attempts, NULL::VARCHAR AS file, NULL::VARCHAR AS extension,
    NULL::VARCHAR AS mime, NULL::INTEGER AS width, NULL::INTEGER AS height, NULL::BIGINT AS bytes,
    NULL::VARCHAR AS sha256, NULL::UBIGINT AS perceptual_hash, NULL::UBIGINT AS perceptual_hash_mirrored,
    NULL::VARCHAR AS shard
WHERE false;

-- A filter on shard, also list_contains($shards, shard), keeps the other files from being opened.
CREATE OR REPLACE VIEW map_images AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS shard
FROM read_parquet('lake://mappool/map_images/*.parquet', filename = true);

CREATE VIEW map_image_failures AS
SELECT
    NULL::VARCHAR AS shard, NULL::VARCHAR AS error, NULL::VARCHAR AS what, NULL::VARCHAR AS "where",
    NULL::VARCHAR AS rule, NULL::VARCHAR AS got, NULL::VARCHAR AS action
WHERE false;

CREATE OR REPLACE VIEW map_image_failures AS SELECT * FROM read_parquet('lake://mappool/map_image_failures/*.parquet');

-- No image is known to be unique until all are compared: empty rather than absent.
CREATE VIEW unique_images AS
SELECT
    NULL::VARCHAR AS shard, NULL::VARCHAR AS uid, NULL::VARCHAR AS sha256, NULL::BOOLEAN AS is_kept,
    NULL::VARCHAR AS representative_shard, NULL::VARCHAR AS representative_uid, NULL::VARCHAR AS relation,
    NULL::SMALLINT AS hash_distance, NULL::FLOAT AS similarity, NULL::INTEGER AS group_size
WHERE false;

CREATE OR REPLACE VIEW unique_images AS SELECT * FROM read_parquet('lake://mappool/unique_images/*.parquet');

-- The host of an address in lower case, without user, port and leading "www."; empty where there is none.
CREATE MACRO domain_of(address) AS rtrim(regexp_extract(
    lower(address), '^[a-z][a-z0-9+.-]*://(?:[^/?#\\]*@)?(?:www\.)?(\[[^\]/?#\\]*\]|[^/?#:\\]*)', 1
), '.');

-- What a status of map_images says of the link. Kept out: by the site's or its owner's wish, by a take-down list, or by
-- our own bounds or draw. Unknown: the link itself was not asked, or its server was too busy for us.
CREATE MACRO outcome_of(status) AS CASE
    WHEN status = 'ok' THEN 'fetched'
    WHEN status IN (
        'robots_txt', 'opted_out', 'taken_down', 'blocked_address', 'too_large', 'too_many_pixels', 'bad_uid',
        'not_balanced'
    ) THEN 'kept out'
    WHEN status IN ('robots_unreachable', 'download_failed', 'http_429', 'http_503') THEN 'unknown'
    ELSE 'dead link'
END;

-- The row is the prompt's number in the group's other tables. Vectors are left out: 3 kB each.
CREATE VIEW place_queries AS
SELECT file_row_number::INTEGER AS query, * EXCLUDE (file_row_number, vector)
FROM read_parquet('lake://geo_subset/place_queries/*.parquet', file_row_number = true);

CREATE VIEW neighbours AS SELECT * FROM read_parquet('lake://geo_subset/neighbours/*.parquet');

-- A ledger: all images that were found, what became of those that are not returned in the column dropped.
CREATE VIEW geo_images AS SELECT * FROM read_parquet('lake://geo_subset/geo_images/*.parquet');

CREATE VIEW place_counts AS SELECT * FROM read_parquet('lake://geo_subset/place_counts/*.parquet');

CREATE VIEW crawl_files AS SELECT * FROM read_parquet('lake://web_documents/crawl_files/*.parquet');

-- A filter on crawl_file keeps the other files from being opened; so in the views below.
CREATE VIEW documents AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/documents/*.parquet', filename = true);

-- Pages of the crawl files that are no documents, with the reason.
CREATE VIEW dropped_pages AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/dropped_pages/*.parquet', filename = true);

-- The text of a document, to which the offsets of media_links and interleaved refer: its texts, a line each.
CREATE MACRO document_text(items) AS array_to_string(
    list_transform(list_filter(items, LAMBDA item: item.kind = 'text'), LAMBDA item: coalesce(item.text, '')), chr(10)
);

-- A stretch of a text from one offset up to another, as code points.
CREATE MACRO text_between(text, first, last) AS substring(text, first + 1, last - first);

CREATE VIEW media_links AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/media_links/*.parquet', filename = true);

CREATE VIEW interleaved AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/interleaved/*.parquet', filename = true);

CREATE VIEW file_media_urls AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/file_media_urls/*.parquet', filename = true);

-- Over all crawl files, in parts by the hash of the URL.
CREATE VIEW media_urls AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS part
FROM read_parquet('lake://web_documents/media_urls/*.parquet', filename = true);

-- A ledger: pages with media, the packed and the others, each with its images and what came of them.
CREATE VIEW packed_documents AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/packed_documents/*.parquet', filename = true);

CREATE VIEW page_images AS
SELECT * EXCLUDE (filename, l14_img, l14_txt), parse_filename(filename, true) AS crawl_file
FROM read_parquet('lake://web_documents/page_images/*.parquet', filename = true);

-- A ledger: all maps on pages; those that are there twice say so in the column dropped.
CREATE VIEW page_maps AS SELECT * EXCLUDE (l14_img, l14_txt) FROM read_parquet('lake://web_documents/page_maps/*.parquet');

-- The list. The row is the place in the list, by which entries are matched.
CREATE VIEW entries AS
SELECT * EXCLUDE (file_row_number), file_row_number::INTEGER AS "row"
FROM read_parquet('lake://curation/entries/*.parquet', file_row_number = true);

-- Entries that no text can match, with the reason.
CREATE VIEW entry_lint AS SELECT * FROM read_parquet('lake://curation/entry_lint/*.parquet');

-- A filter on shard, also list_contains($shards, shard), keeps the other files from being opened; so in balanced_pool.
CREATE VIEW matches AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS shard
FROM read_parquet('lake://curation/matches/*.parquet', filename = true);

CREATE VIEW match_failures AS
SELECT
    NULL::VARCHAR AS shard, NULL::VARCHAR AS error, NULL::VARCHAR AS what, NULL::VARCHAR AS "where",
    NULL::VARCHAR AS rule, NULL::VARCHAR AS got, NULL::VARCHAR AS action
WHERE false;

CREATE OR REPLACE VIEW match_failures AS SELECT * FROM read_parquet('lake://curation/match_failures/*.parquet');

-- Entries can be counted before any shard is matched: empty rather than absent; so in counted_shards.
CREATE VIEW shard_entry_counts AS
SELECT NULL::INTEGER AS entry_id, NULL::UBIGINT AS texts, NULL::VARCHAR AS shard WHERE false;

CREATE OR REPLACE VIEW shard_entry_counts AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS shard
FROM read_parquet('lake://curation/shard_entry_counts/*.parquet', filename = true);

-- What entry_counts has counted of a shard, under the shard and the fingerprint of its matches: shard-fingerprint.
CREATE VIEW counted_shards AS
SELECT NULL::INTEGER AS entry_id, NULL::UBIGINT AS texts, NULL::VARCHAR AS counted WHERE false;

CREATE OR REPLACE VIEW counted_shards AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS counted
FROM read_parquet('lake://curation/counted_shards/*.parquet', filename = true);

CREATE VIEW entry_counts AS SELECT * FROM read_parquet('lake://curation/entry_counts/*.parquet');

CREATE VIEW balance_plan AS SELECT * FROM read_parquet('lake://curation/balance_plan/*.parquet');

CREATE VIEW balance_growth AS SELECT * FROM read_parquet('lake://curation/balance_growth/*.parquet');

-- Nothing is planned until balance_plan is made: empty rather than absent.
CREATE VIEW planned_entries AS
SELECT
    NULL::INTEGER AS entry_id, NULL::VARCHAR AS entry, NULL::UBIGINT AS texts, NULL::DOUBLE AS p,
    NULL::DOUBLE AS expected_pairs, NULL::BOOLEAN AS is_head
WHERE false;

CREATE OR REPLACE VIEW planned_entries AS SELECT * FROM read_parquet('lake://curation/planned_entries/*.parquet');

CREATE VIEW balanced_pool AS
SELECT * EXCLUDE (filename), parse_filename(filename, true) AS shard
FROM read_parquet('lake://curation/balanced_pool/*.parquet', filename = true);

CREATE VIEW balance_failures AS
SELECT
    NULL::VARCHAR AS shard, NULL::VARCHAR AS error, NULL::VARCHAR AS what, NULL::VARCHAR AS "where",
    NULL::VARCHAR AS rule, NULL::VARCHAR AS got, NULL::VARCHAR AS action
WHERE false;

CREATE OR REPLACE VIEW balance_failures AS SELECT * FROM read_parquet('lake://curation/balance_failures/*.parquet');

-- The shard is a column of the table, which is whole; so in curated_pairs.
CREATE VIEW unique_pairs AS SELECT * FROM read_parquet('lake://curation/unique_pairs/*.parquet');

CREATE VIEW curated_pairs AS SELECT * FROM read_parquet('lake://curation/curated_pairs/*.parquet');

-- No entry is curated until pairs are: empty rather than absent.
CREATE VIEW curated_entries AS
SELECT
    NULL::INTEGER AS entry_id, NULL::VARCHAR AS entry, NULL::UBIGINT AS texts, NULL::DOUBLE AS unique_texts_estimate,
    NULL::UBIGINT AS curated, NULL::DOUBLE AS expected_pairs
WHERE false;

CREATE OR REPLACE VIEW curated_entries AS SELECT * FROM read_parquet('lake://curation/curated_entries/*.parquet');
