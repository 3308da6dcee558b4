"""Tensors to tensors: backbones, class heatmaps, pooling, losses, and boxes from heatmaps."""
