"""The ROS side: messages in, messages out. Only `node` and the modules that it alone uses import rclpy."""
