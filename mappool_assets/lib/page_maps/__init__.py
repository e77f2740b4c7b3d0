"""Images of web pages: scored with the text around them, and the maps among them."""
