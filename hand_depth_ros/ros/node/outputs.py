"""The node's publishers: which of them anybody listens to, and message fields put into messages fast."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Mapping
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.encode import Fields
from hand_depth_ros.ros.qos import full_name, incompatible_subscriber, is_known, output_qos, overridable

_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "sensor_msgs/msg/PointCloud2": PointCloud2,
}


class Outputs:
    """All publishers of `topics.OUTPUT_TOPICS`.

    Every image topic has a camera_info beside it, under whatever name remapping gives it: consumers look for
    it there. It is published on each distinct sibling, except where that is the colour camera's own
    camera_info.
    """

    def __init__(self, node: Node, camera_info_in: str) -> None:
        self._node = node
        self._publishers = {
            topic.name: self._publisher(node, _TYPES[topic.type], _name(node, topic.name))
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
        self._infos = [self._publisher(node, CameraInfo, name) for name in resolved if name != camera_info_in]

    @staticmethod
    def _publisher(node: Node, kind: type, name: str) -> Any:
        return node.create_publisher(
            kind,
            name,
            output_qos(),
            # rclpy's own callbacks would warn of an incompatible subscriber without naming it: see deaf().
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
            qos_overriding_options=overridable(),
        )

    def wanted(self) -> set[str]:
        """Names of the outputs that have a subscriber now."""
        names = {name for name, publisher in self._publishers.items() if publisher.get_subscription_count()}
        if any(publisher.get_subscription_count() for publisher in self._infos):
            names.add(topics.CAMERA_INFO)
        return names

    def deaf(self) -> list[str]:
        """The subscribers that hear nothing because of their QoS: a sentence for each, with the policy to change."""
        sentences = []
        for publisher in (*self._publishers.values(), *self._infos):
            topic, offered = publisher.topic_name, publisher.qos_profile
            for info in self._node.get_subscriptions_info_by_topic(topic):
                sentences.append(incompatible_subscriber(topic, full_name(info), offered, info.qos_profile))
        return list(filter(None, sentences))

    def rivals(self) -> list[str]:
        """Who else publishes on our topics, a second node of the same name most likely: a sentence for each."""
        ours = self._node.get_fully_qualified_name()
        others: dict[str, list[str]] = {}
        for publisher in self._publishers.values():
            infos = self._node.get_publishers_info_by_topic(publisher.topic_name)
            ends = list(filter(is_known, map(full_name, infos)))
            if ours in ends:
                ends.remove(ours)
            for other in ends:
                others.setdefault(other, []).append(publisher.topic_name)
        return [
            f"{name} also publishes {shared[0]}"
            + (f" and {len(shared) - 1} more of this node's topics" if shared[1:] else "")
            + (
                ", a second node of this name (or what is left of one that was killed less than 20 s ago)"
                if name == ours
                else ""
            )
            + ": end it, or give it another name or namespace"
            for name, shared in others.items()
        ]

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._publishers.values(), *self._infos):
            self._node.destroy_publisher(publisher)

    def publish(self, outputs: Mapping[str, Fields], camera_info: CameraInfo, header: Header) -> None:
        """Publish one frame, all under one header; camera_info first, so that pairing consumers have it."""
        if any(publisher.get_subscription_count() for publisher in self._infos):
            info = copy.copy(camera_info)
            info.header = header
            for publisher in self._infos:
                publisher.publish(info)
        for name, fields in outputs.items():
            self._publishers[name].publish(to_message(fields, header))


def _name(node: Node, name: str) -> str:
    """The name to publish under: a compressed image goes where its image does, whatever that is remapped to,
    unless it is remapped itself."""
    if not name.endswith(topics.COMPRESSED_DEPTH):
        return name
    if node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True):
        return name
    return node.resolve_topic_name(name.removesuffix(topics.COMPRESSED_DEPTH)) + topics.COMPRESSED_DEPTH


def to_message(fields: Fields, header: Header) -> Image | CompressedImage | PointCloud2:
    """Fields of `encode` as an rclpy message. Assigning `array('B')` takes no time, bytes or a list do."""
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
