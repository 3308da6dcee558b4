"""Region proposals: made for one image, their files, their recall."""
