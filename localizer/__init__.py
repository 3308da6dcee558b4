"""Tensors to tensors: trunks, class heatmaps, pooling, losses, and boxes from heatmaps."""
