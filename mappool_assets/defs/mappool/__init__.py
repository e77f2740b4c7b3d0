"""MapPool: labelled images and a pool in, a dataset of maps out.

training_set → training_embeddings → classifier ─┬→ published_model
pool_shards (one partition a shard) ─────────────┴→ shard_maps ─┬→ published_dataset
                                                                └→ map_images → unique_images → pool_report
"""
