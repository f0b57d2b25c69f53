"""Status text, stalled topics and log throttling, without rclpy."""
