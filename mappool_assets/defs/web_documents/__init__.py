"""Web documents: a crawl in; interleaved pages, media with the text around them, unique media URLs and maps out.

crawl_files → documents (one partition a file) ─┬→ file_media_urls → media_urls
                                                └→ media_links → interleaved
interleaved → packed_documents → page_images → page_maps
"""
