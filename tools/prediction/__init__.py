"""A trained run on pictures."""
