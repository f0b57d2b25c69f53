"""From an image and its camera to metric depth: detect, track, predict, composite.

Knows nothing of ROS.
"""
