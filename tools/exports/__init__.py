"""What leaves the house: boxes of any images, files for other tools."""
