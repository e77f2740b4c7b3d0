"""Curation: pairs as flat over concepts as MetaCLIP made CLIP's.

entries → matches (one partition a shard) → entry_counts → balance_plan
matches, entry_counts → balanced_pool → [map_images → unique_images] → unique_pairs → curated_pairs → curation_report
"""
