"""Web pages packed for training: text and images in the order of the page, as tars in tars or as parquet."""
