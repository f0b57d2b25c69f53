"""Give the outputs a frame of their own, tied to the colour camera's by an identity transform."""

from __future__ import annotations

import os

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from std_msgs.msg import Header

from hand_depth_ros.errors import MissingDependencyError


class OutputFrame:
    """Give every output its header.

    Args:
        node: Broadcasts the static transform.
        depth_frame_id: frame_id of the outputs. "" copies headers exactly and broadcasts nothing.

    Raises:
        MissingDependencyError: A frame is given and tf2_ros is not installed.
    """

    def __init__(self, node: Node, depth_frame_id: str) -> None:
        self._node = node
        self._frame = depth_frame_id
        self._colour_frame: str | None = None
        self._broadcaster = _broadcaster(node) if depth_frame_id else None

    def header(self, colour: Header) -> Header:
        """Return the outputs' header: the colour image's stamp, in the outputs' frame."""
        if self._broadcaster is None:
            return colour
        if colour.frame_id != self._colour_frame:
            self._colour_frame = colour.frame_id
            self._broadcast(colour)
        return Header(stamp=colour.stamp, frame_id=self._frame)

    def _broadcast(self, colour: Header) -> None:
        if self._broadcaster is None or colour.frame_id == self._frame:
            return
        transform = TransformStamped()
        transform.header = colour
        transform.child_frame_id = self._frame
        transform.transform.rotation.w = 1.0
        self._broadcaster.sendTransform(transform)


def _broadcaster(node: Node):
    try:
        from tf2_ros import StaticTransformBroadcaster
    except ImportError as error:
        distro = os.environ.get("ROS_DISTRO", "jazzy")
        raise MissingDependencyError(
            f"depth_frame_id needs tf2_ros, which is not installed ({error}): run  "
            f"sudo apt install ros-{distro}-tf2-ros-py  or leave depth_frame_id empty "
            "(with a preset: frame image)"
        ) from error
    return StaticTransformBroadcaster(node)
