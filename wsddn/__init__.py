"""The detector: two streams over region proposals, learned from image-level labels (WSDDN)."""
