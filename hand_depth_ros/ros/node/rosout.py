"""Publish why a node ends on /rosout, for whoever watches rqt_console instead of the terminal."""

from __future__ import annotations

import time

from rcl_interfaces.msg import Log
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile

from hand_depth_ros.ros.qos import RELIABLE, TRANSIENT_LOCAL

ROSOUT = "/rosout"
DISCOVERY_S = 3.0
"""A node younger than this may have listeners that it has not discovered yet."""
DELIVERY_S = 2.0
_POLL_S = 0.02


def log_fatal_to_rosout(node: Node, reason: str, created_s: float) -> None:
    """Publish a line on /rosout and wait until the listeners have it.

    A node's own logger does not wait when the node ends. Nothing is published where the node's log
    does not go to /rosout (`--disable-rosout-logs`) or ROS is shutting down. Without any listener
    it returns once the node is DISCOVERY_S old.

    Args:
        node: The node that is about to end; it need not be spinning.
        reason: The line.
        created_s: When `node` was created (time.monotonic).
    """
    name = node.resolve_topic_name(ROSOUT)
    own = (node.get_name(), node.get_namespace())
    ends = node.get_publishers_info_by_topic(name) if node.context.ok() else []
    if own not in [(end.node_name, end.node_namespace) for end in ends]:
        return
    # The node's logger has a publisher too, but rclpy has no way to wait for it.
    qos = QoSProfile(depth=1, reliability=RELIABLE, durability=TRANSIENT_LOCAL)
    publisher = node.create_publisher(Log, name, qos)
    while node.context.ok() and time.monotonic() < created_s + DISCOVERY_S:
        if 0 < node.count_subscribers(name) <= publisher.get_subscription_count():
            break
        time.sleep(_POLL_S)
    if node.context.ok():
        stamp = node.get_clock().now().to_msg()
        publisher.publish(Log(stamp=stamp, level=Log.FATAL, name=node.get_logger().name, msg=reason))
        publisher.wait_for_all_acked(Duration(seconds=DELIVERY_S))
