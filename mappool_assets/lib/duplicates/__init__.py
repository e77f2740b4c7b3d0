"""Images that are there more than once, over all shards: the same bytes, the same look, nearly the same embedding."""
