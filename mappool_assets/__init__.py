"""Dagster assets that turn web-scale pools of images and text into trusted datasets of maps.

The data's way::

    training_set → training_embeddings → classifier ─┬→ published_model
    pool_shards (found, one partition a shard) ──────┴→ shard_maps ─┬→ published_dataset
                                                                    └→ map_images → unique_images → pool_report
    place_queries + shard_maps → neighbours → geo_images → geo_report
    shard_maps → image_index
    crawl_files (one partition a file) → documents → media_links → interleaved → packed_documents → page_images
                                       → page_maps; documents → file_media_urls → media_urls
    entries + shard_maps → matches → entry_counts → balanced_pool → unique_pairs → curated_pairs → curation_report

``definitions`` assembles, ``defs`` holds what is Dagster's, ``lib`` holds the craft.
"""
