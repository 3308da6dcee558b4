"""The numbers of a split."""
