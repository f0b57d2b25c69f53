"""`hand-depth bag`: add depth topics to a recorded bag, without ROS."""
