"""Labels of images in the forms that people have them in, one form a file."""
