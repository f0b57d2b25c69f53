"""The live node. The only package that imports rclpy."""
