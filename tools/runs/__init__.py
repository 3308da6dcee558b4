"""A run on disk: its folder, environment, checkpoints."""
