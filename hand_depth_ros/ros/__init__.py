"""ROS 2 side: parameters, messages, diagnostics, and the node, which alone imports rclpy."""
