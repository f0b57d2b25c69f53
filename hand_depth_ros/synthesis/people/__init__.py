"""Rendered people: bodies, poses, clothes and accessories."""
