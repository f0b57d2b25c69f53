"""`hand-depth infer`: depth of the hands in image files."""
