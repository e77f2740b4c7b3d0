"""A file read by byte ranges, wherever it lies: a folder, HTTP(S), the Hugging Face Hub or S3.

``base`` says what such a file is, ``stores`` opens one by its address, ``http`` overcomes what servers do.
"""
