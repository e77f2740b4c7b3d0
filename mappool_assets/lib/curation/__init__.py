"""Curation: which entries of a list texts match, how often each does, and a set that is flat over them."""
