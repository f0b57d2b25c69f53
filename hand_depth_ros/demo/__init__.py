"""`hand-depth demo`: a rendered clip with known depth goes through the real node, in its own process, over DDS."""
