"""A crawl's files as Common Crawl publishes them: their list, their records, their pages.

``crawl_files`` lists WARC and WAT files, ``crawl_files_table`` keeps the list in the lake. ``warc_pages`` reads pages
from ``warc_records``, which stands on ``gzip_members`` or ``plain_records`` over a ``byte_window``; ``http_response``
takes a stored answer apart. Whatever lies in such a file was written by strangers.
"""
