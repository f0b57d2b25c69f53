"""Publish the outputs: know which are subscribed to, and fill messages fast."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Collection, Mapping
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.camera_info import complete_camera_info
from hand_depth_ros.ros.messages.encode import Fields
from hand_depth_ros.ros.qos import full_name, incompatible_subscriber, is_known, output_qos, overridable

_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "sensor_msgs/msg/PointCloud2": PointCloud2,
}


class Outputs:
    """All publishers of `topics.OUTPUT_TOPICS`.

    Consumers look for a camera_info beside every image topic, under whatever name remapping gives
    it. So it is published on each distinct sibling, except where the colour camera's own may be.

    Args:
        node: Publishes.
        camera_infos_in: The topics on which the colour camera's camera_info may come.
    """

    def __init__(self, node: Node, camera_infos_in: Collection[str]) -> None:
        self._node = node
        self._reported: set[str] = set()
        self._publishers = {
            topic.name: self._publisher(node, _TYPES[topic.type], _resolved_name(node, topic.name))
            for topic in topics.OUTPUT_TOPICS
            if topic.name != topics.CAMERA_INFO
        }
        names = [topics.CAMERA_INFO]
        names += [
            topics.sibling_camera_info(node.resolve_topic_name(topic.name))
            for topic in topics.OUTPUT_TOPICS
            if topic.is_image
        ]
        resolved = dict.fromkeys(node.resolve_topic_name(name) for name in names)
        self._infos = [
            self._publisher(node, CameraInfo, name) for name in resolved if name not in camera_infos_in
        ]

    @staticmethod
    def _publisher(node: Node, kind: type, name: str) -> Any:
        return node.create_publisher(
            kind,
            name,
            output_qos(),
            # rclpy's own callbacks would warn of an incompatible subscriber without naming it.
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
            qos_overriding_options=overridable(),
        )

    def wanted(self) -> set[str]:
        """Return the names of the outputs that have a subscriber now."""
        names = {name for name, publisher in self._publishers.items() if publisher.get_subscription_count()}
        if any(publisher.get_subscription_count() for publisher in self._infos):
            names.add(topics.CAMERA_INFO)
        return names

    def incompatible_subscribers(self) -> list[str]:
        """Return a sentence for each subscriber whose QoS is incompatible with ours."""
        sentences = []
        for publisher in (*self._publishers.values(), *self._infos):
            topic, offered = publisher.topic_name, publisher.qos_profile
            for info in self._node.get_subscriptions_info_by_topic(topic):
                sentences.append(incompatible_subscriber(topic, full_name(info), offered, info.qos_profile))
        return list(filter(None, sentences))

    def duplicate_publishers(self) -> list[str]:
        """Return a sentence for each other node that publishes on our topics."""
        own_name = self._node.get_fully_qualified_name()
        shared: dict[str, list[str]] = {}
        for publisher in self._publishers.values():
            infos = self._node.get_publishers_info_by_topic(publisher.topic_name)
            nodes = list(filter(is_known, map(full_name, infos)))
            if own_name in nodes:
                nodes.remove(own_name)
            for node in nodes:
                shared.setdefault(node, []).append(publisher.topic_name)
        return [_duplicate_text(node, names, node == own_name) for node, names in shared.items()]

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._publishers.values(), *self._infos):
            self._node.destroy_publisher(publisher)

    def publish(self, outputs: Mapping[str, Fields], camera_info: CameraInfo, header: Header) -> None:
        """Publish one frame under one header; camera_info first, for consumers that pair."""
        if any(publisher.get_subscription_count() for publisher in self._infos):
            completed, filled_in = complete_camera_info(camera_info)
            if filled_in and filled_in not in self._reported:
                self._reported.add(filled_in)
                self._node.get_logger().warning(filled_in)
            info = copy.copy(completed)
            info.header = header
            for publisher in self._infos:
                publisher.publish(info)
        for name, fields in outputs.items():
            self._publishers[name].publish(to_message(fields, header))


def to_message(fields: Fields, header: Header) -> Image | CompressedImage | PointCloud2:
    """Return the fields of `encode` as an rclpy message.

    `data` is assigned as `array('B')`, which takes no time; bytes or a list take 10 ms and more.
    """
    kind = PointCloud2 if "point_step" in fields else CompressedImage if "format" in fields else Image
    message = kind()
    message.header = header
    for name, value in fields.items():
        if name == "data":
            value = array("B")
            value.frombytes(memoryview(fields["data"]))
        elif name == "fields":
            value = [PointField(**field) for field in value]
        setattr(message, name, value)
    return message


def _resolved_name(node: Node, name: str) -> str:
    """Return the name to publish under.

    A compressed image goes where its image does, whatever that is remapped to, unless it is
    remapped itself.
    """
    if not name.endswith(topics.COMPRESSED_DEPTH):
        return name
    if node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True):
        return name
    return node.resolve_topic_name(name.removesuffix(topics.COMPRESSED_DEPTH)) + topics.COMPRESSED_DEPTH


def _duplicate_text(node: str, topic_names: list[str], same_name: bool) -> str:
    more = f" and {len(topic_names) - 1} more of this node's topics" if topic_names[1:] else ""
    twin = (
        ", a second node of this name (or what is left of one that was killed less than 20 s ago)"
        if same_name
        else ""
    )
    return f"{node} also publishes {topic_names[0]}{more}{twin}: end it, or give it another name or namespace"
