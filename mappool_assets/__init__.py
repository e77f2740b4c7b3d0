"""Dagster assets that turn web-scale pools of images and text into trusted datasets of maps.

The data's way::

    training_set → training_embeddings → classifier ─┬→ published_model
    pool_shards (found, one partition a shard) ──────┴→ shard_maps → published_dataset

``definitions`` assembles, ``defs`` holds what is Dagster's, ``lib`` holds the craft.
"""
