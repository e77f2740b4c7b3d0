"""Nearest images of texts and of images: exactly by a scan of all rows, or from an index of the lake's shards."""
