"""From a scene to pixels: ray casting, path tracing and tone mapping."""
