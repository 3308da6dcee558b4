"""Several commands in one: the demo, the tables of the README."""
