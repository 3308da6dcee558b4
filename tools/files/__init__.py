"""Files that are written whole or not at all, downloads, and the formats of an evaluation."""
