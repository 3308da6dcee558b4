"""Sources of images with labels: VOC, any folder; and what is wrong with them."""
