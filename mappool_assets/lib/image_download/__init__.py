"""Images fetched by img2dataset under our rules: a stranger's address decides nothing but its own row.

``downloads`` hands out one outcome a request, in order; ``img2dataset_process`` is the program that runs img2dataset,
``guarded_opener`` what it fetches through, ``process_group`` what ends it, ``sub_shards`` what it wrote.
"""
