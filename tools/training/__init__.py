"""How a run comes to be."""
