"""What a model takes: splits, samples, cached features, rois."""
