"""Why a node ends, on /rosout: for whoever watches rqt_console and not the terminal that it was started in."""

from __future__ import annotations

import time

from rcl_interfaces.msg import Log
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile

from hand_depth_ros.ros.qos import RELIABLE, TRANSIENT_LOCAL

ROSOUT = "/rosout"
DISCOVERY_S = 3.0
"""A node that is younger than this may have listeners that it doesn't know of yet."""
DELIVERY_S = 2.0
_LOOK_S = 0.02


def tell_rosout(node: Node, reason: str, born: float) -> None:
    """Publish a line on /rosout and wait until who listens has it: a node's own log is not waited for when it goes.

    Nobody is told where the node's log doesn't go to /rosout (`--disable-rosout-logs`) or ROS is shutting down. With
    nobody there to listen it takes until the node is DISCOVERY_S old.

    Args:
        node: Is about to end. It needn't be spinning.
        reason: The line.
        born: When `node` was made, of time.monotonic().
    """
    name = node.resolve_topic_name(ROSOUT)
    own = (node.get_name(), node.get_namespace())
    ends = node.get_publishers_info_by_topic(name) if node.context.ok() else []
    if own not in [(end.node_name, end.node_namespace) for end in ends]:
        return
    # The node's logger has a publisher as well, but rclpy doesn't let us wait for it.
    qos = QoSProfile(depth=1, reliability=RELIABLE, durability=TRANSIENT_LOCAL)
    publisher = node.create_publisher(Log, name, qos)
    while node.context.ok() and time.monotonic() < born + DISCOVERY_S:
        if 0 < node.count_subscribers(name) <= publisher.get_subscription_count():
            break
        time.sleep(_LOOK_S)
    if node.context.ok():
        stamp = node.get_clock().now().to_msg()
        publisher.publish(Log(stamp=stamp, level=Log.FATAL, name=node.get_logger().name, msg=reason))
        publisher.wait_for_all_acked(Duration(seconds=DELIVERY_S))
