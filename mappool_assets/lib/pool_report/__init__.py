"""One HTML page about the lake: yields, scores, images, captions, domains, duplicates, and a look at them."""
