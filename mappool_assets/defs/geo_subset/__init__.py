"""Geo subsets: place names in, the images of these places out; and an index to search by hand.

place_queries ─┬→ neighbours → geo_images → geo_report
shard_maps ────┴→ image_index
"""
