"""`hand-depth demo`: play a rendered clip with known depth through the real node, over DDS."""
