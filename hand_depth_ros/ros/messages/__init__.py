"""ROS messages to arrays and back. Imports no rclpy, so bags and tests use it without ROS."""
