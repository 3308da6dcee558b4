"""What a model is fed: splits, samples, cached features, rois."""
