"""A trained run on images."""
