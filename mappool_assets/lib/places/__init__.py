"""Place names from the sources that people have, and the prompts by which images of those places are found.

``sources`` reads any source by its address, ``place_filter`` chooses, ``places_table`` writes what was kept,
``prompts`` words the prompts and ``place_queries`` gives them vectors.
"""
