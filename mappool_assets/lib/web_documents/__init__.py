"""Interleaved text, images, audio and video out of web crawls."""
