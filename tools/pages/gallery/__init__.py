"""The gallery of a run."""
