"""A synthetic data set in the layout of VOC, drawn and written to a folder."""
