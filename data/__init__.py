"""Disk to tensors: the box convention, VOC reading, safe decoding, the VOC evaluation."""
