"""Images of places: what the places' prompts found, made one data set, with its manifest, exports and report."""
