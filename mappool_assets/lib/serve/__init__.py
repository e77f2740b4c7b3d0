"""The search service: clip-retrieval's protocol over the lake's image index, and a page to search with.

A request goes through :mod:`knn_request` (what is asked), :mod:`query_vector` (what it means), :mod:`nearest` (what is
found) and :mod:`index_metadata` (what is told of it); :mod:`app` connects them with HTTP. Nothing is written anywhere.
"""
