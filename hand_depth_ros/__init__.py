"""Metric depth of hands from one colour camera, published the way an RGBD camera does."""

__version__ = "0.1.0"
