"""The images, audio and video files that web pages show: unique by canonical URL, over all crawl files."""
