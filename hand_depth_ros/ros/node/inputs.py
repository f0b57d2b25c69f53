"""Subscribe to the colour camera: which topics, with what QoS, and what came from them.

Names. `image` and `camera_info` are remapped as usual. As consumers of ROS cameras do, the node
takes the camera_info beside the image: unless `camera_info` is itself remapped, it is the sibling
of the *resolved* image topic, so that `-r image:=/wrist/color/image_raw` alone is enough (it takes
/wrist/color/camera_info). With image_transport compressed, the image comes from the resolved image
topic + /compressed, as image_transport has it; a name that already ends so, and a remap of
`image/compressed`, are taken as they are.

Not every driver names its topics so: `/axis/compressed` and `/cam/jpeg` are compressed images that
lie below no raw one. So the type, and which of the possible camera_info topics is meant, are looked
up on the graph as publishers appear (`find_inputs`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.ros.messages.topics import COMPRESSED_IMAGE, camera_info_candidates
from hand_depth_ros.ros.node.camera_infos import CameraInfos
from hand_depth_ros.ros.qos import (
    BEST_EFFORT,
    POLICIES,
    TRANSIENT_LOCAL,
    VOLATILE,
    durability_to_ask,
    full_name,
    incompatible_publisher,
    input_qos,
    overridable,
    override_name,
    reliability_to_ask,
)


@dataclass(frozen=True)
class InputTopics:
    """Fully resolved names of the image's topic and of its camera_info, and how the image comes.

    `image_candidates` and `camera_info_candidates` are all the topics that may be meant; the first
    of them that is published is.
    """

    image: str
    camera_info: str
    compressed: bool
    transport: str
    image_candidates: tuple[str, ...]
    camera_info_candidates: tuple[str, ...]


def resolve_inputs(node: Node, image_transport: str) -> InputTopics:
    """Return the topics that the remapping rules of `node` lead to; see the module's docstring."""
    compressed = image_transport == "compressed"
    image = node.resolve_topic_name("image")
    images: tuple[str, ...] = (image,)
    if compressed and not image.endswith(COMPRESSED_IMAGE):
        by_name = node.resolve_topic_name(f"image{COMPRESSED_IMAGE}")
        remapped = by_name != node.resolve_topic_name(f"image{COMPRESSED_IMAGE}", only_expand=True)
        images = (by_name,) if remapped else (image + COMPRESSED_IMAGE, image)
    infos = camera_info_candidates(image)
    camera_info = node.resolve_topic_name("camera_info")
    if camera_info != node.resolve_topic_name("camera_info", only_expand=True):
        infos = (camera_info,)
    return InputTopics(images[0], infos[-1], compressed, image_transport, images, infos)


def find_inputs(node: Node, topics: InputTopics) -> InputTopics:
    """Return `topics` with the candidates that are published now; what is not stays as it is."""
    image, compressed = topics.image, topics.compressed
    if topics.transport == "compressed":
        image = _first_published(node, topics.image_candidates, CompressedImage, image)
    elif _is_published(node, image, Image):
        compressed = False
    elif _is_published(node, image, CompressedImage):
        compressed = True
    camera_info = _first_published(node, topics.camera_info_candidates, CameraInfo, topics.camera_info)
    return replace(topics, image=image, camera_info=camera_info, compressed=compressed)


def _first_published(node: Node, candidates: Iterable[str], kind: type, default: str) -> str:
    return next((topic for topic in candidates if _is_published(node, topic, kind)), default)


def _is_published(node: Node, topic: str, kind: type) -> bool:
    """Return whether another node publishes `topic` with that type."""
    ours = node.get_fully_qualified_name()
    return any(
        info.topic_type == _type_name(kind) and full_name(info) != ours
        for info in node.get_publishers_info_by_topic(topic)
    )


def _type_name(kind: type) -> str:
    return f"sensor_msgs/msg/{kind.__name__}"


class FollowingSubscription:
    """A subscription that is recreated whenever its publishers' offers ask for other QoS.

    It starts as sensor data (best effort, volatile), which receives from everybody. `follow()`
    compares with the graph; the node calls it now and then. A policy that a `qos_overrides`
    parameter sets stays as set.

    Args:
        node: Subscribes.
        kind: Message type.
        topic: Full name.
        callback: Takes each message.
        latched: Ask for messages published before we came, where they are kept for us.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], latched: bool = False
    ) -> None:
        self._node, self._kind, self.topic, self._callback = node, kind, topic, callback
        self._reliability, self._durability, self._latched = BEST_EFFORT, VOLATILE, latched
        self._overridden = {
            policy
            for policy in POLICIES
            if override_name(topic, "subscription", policy.name.lower()) in node._parameter_overrides
        }
        self._heard_at = -float("inf")
        self.problem = ""
        self._subscription = self._subscribe(POLICIES)  # declares the parameters
        self.follow()

    @property
    def is_best_effort(self) -> bool:
        """True if the subscription asks for best effort."""
        return self._subscription.qos_profile.reliability == BEST_EFFORT

    @property
    def is_latched(self) -> bool:
        """True if the subscription asks for transient local."""
        return self._subscription.qos_profile.durability == TRANSIENT_LOCAL

    @property
    def qos_text(self) -> str:
        """The QoS for people: reliable, volatile."""
        qos = self._subscription.qos_profile
        return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}"

    @property
    def publishers(self) -> int:
        """Number of publishers on the topic now."""
        return self._node.count_publishers(self.topic)

    @property
    def age_s(self) -> float:
        """Seconds since the last message; inf if none has come."""
        return time.monotonic() - self._heard_at

    def follow(self) -> None:
        """Match what the publishers offer now; `problem` says what cannot be matched."""
        found = self._node.get_publishers_info_by_topic(self.topic)
        ours = [info for info in found if info.topic_type == _type_name(self._kind)]
        offers = [info.qos_profile for info in ours]
        reliability = reliability_to_ask((qos.reliability for qos in offers), self._reliability)
        durability = self._durability
        if self._latched:
            durability = durability_to_ask((qos.durability for qos in offers), durability)
        if (reliability, durability) != (self._reliability, self._durability):
            self._reliability, self._durability = reliability, durability
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe(self._overridden)
            self._node.get_logger().info(f"{self.topic}: subscribing {self.qos_text}")
        asked = self._subscription.qos_profile
        silent = [
            incompatible_publisher(self.topic, full_name(info), info.qos_profile, asked) for info in ours
        ]
        other_types = {info.topic_type for info in found} - {_type_name(self._kind)}
        self.problem = self._other_type_problem(other_types) or "; ".join(filter(None, silent))

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _other_type_problem(self, types: set[str]) -> str:
        if not types:
            return ""
        return (
            f"{self.topic} carries {', '.join(sorted(types))}, not {_type_name(self._kind)}: "
            "remap image to the colour topic and set image_transport to raw or compressed as it is"
        )

    def _subscribe(self, policies: Iterable[Any]) -> Any:
        return self._node.create_subscription(
            self._kind,
            self.topic,
            self._hear,
            input_qos(self._reliability, self._durability),
            # rclpy's own callbacks would warn of an incompatible publisher, which follow() sees to.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            qos_overriding_options=overridable(policies),
        )

    def _hear(self, msg: Any) -> None:
        self._heard_at = time.monotonic()
        self._callback(msg)


class ColourCamera:
    """The image and camera_info subscriptions of the node, and the camera_infos heard."""

    def __init__(
        self,
        node: Node,
        image_transport: str,
        on_image: Callable[[Any], None],
        on_camera_info: Callable[[], None],
    ) -> None:
        self._node, self._on_image, self._on_camera_info = node, on_image, on_camera_info
        self.infos = CameraInfos()
        self.topics = find_inputs(node, resolve_inputs(node, image_transport))
        self.camera_info = self._subscribe_camera_info()
        self.image = self._subscribe_image()

    def follow(self) -> None:
        """Follow the publishers: to another QoS, another type or the topic that is meant."""
        before, self.topics = self.topics, find_inputs(self._node, self.topics)
        if self.topics.camera_info != before.camera_info:
            self.camera_info.close()
            self.infos = CameraInfos()  # those of another topic may be another camera's
            self.camera_info = self._subscribe_camera_info()
        if (self.topics.image, self.topics.compressed) != (before.image, before.compressed):
            self.image.close()
            self.image = self._subscribe_image()
        if self.topics != before:
            self._node.get_logger().info(f"{self.topics.image} and {self.topics.camera_info} in")
        self.image.follow()
        self.camera_info.follow()

    def close(self) -> None:
        """End both subscriptions."""
        self.image.close()
        self.camera_info.close()

    def _subscribe_camera_info(self) -> FollowingSubscription:
        return FollowingSubscription(
            self._node, CameraInfo, self.topics.camera_info, self._hear_info, latched=True
        )

    def _subscribe_image(self) -> FollowingSubscription:
        kind = CompressedImage if self.topics.compressed else Image
        return FollowingSubscription(self._node, kind, self.topics.image, self._on_image)

    def _hear_info(self, info: CameraInfo) -> None:
        self.infos.add(info)
        self._on_camera_info()
