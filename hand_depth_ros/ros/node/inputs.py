"""The colour camera's two topics: which they are, subscriptions that follow what their publishers offer, and what
has come from them.

Names. `image` and `camera_info` are remapped as usual. Consumers of ROS cameras take the camera_info beside
the image, and so does this node: unless `camera_info` is itself remapped, it is the sibling of the *resolved*
image topic, so that `-r image:=/wrist/color/image_raw` alone is enough (it takes /wrist/color/camera_info).
With image_transport compressed, the subscription goes to the resolved image topic + /compressed, as
image_transport does; a name that already ends so, and a remap of `image/compressed`, are taken as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.ros.messages.topics import sibling_camera_info
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

COMPRESSED = "/compressed"


@dataclass(frozen=True)
class InputTopics:
    """Fully resolved names: the picture's topic as subscribed, and its camera_info."""

    image: str
    camera_info: str


def resolve_inputs(node: Node, image_transport: str) -> InputTopics:
    """The topics that the remapping rules of `node` lead to; see the module's docstring."""
    image = node.resolve_topic_name("image")
    camera_info = node.resolve_topic_name("camera_info")
    if camera_info == node.resolve_topic_name("camera_info", only_expand=True):
        camera_info = sibling_camera_info(image.removesuffix(COMPRESSED))
    if image_transport == "compressed" and not image.endswith(COMPRESSED):
        by_name = node.resolve_topic_name(f"image{COMPRESSED}")
        remapped = by_name != node.resolve_topic_name(f"image{COMPRESSED}", only_expand=True)
        image = by_name if remapped else image + COMPRESSED
    return InputTopics(image, camera_info)


class FollowingSubscription:
    """A subscription that is made anew whenever what the publishers offer asks for it.

    Starts as sensor data (best effort, volatile), which hears everybody. `follow()` compares with the graph; the node
    calls it now and then. A policy that a `qos_overrides` parameter was given for stays as given. `latched`: a message
    that was published before we came is wanted too, where it is kept for us.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], latched: bool = False
    ) -> None:
        self._node, self._kind, self.topic, self._callback = node, kind, topic, callback
        self._reliability, self._durability, self._latched = BEST_EFFORT, VOLATILE, latched
        self._given = {
            policy
            for policy in POLICIES
            if override_name(topic, "subscription", policy.name.lower()) in node._parameter_overrides
        }
        self._heard_at = -float("inf")
        self.trouble = ""
        self._subscription = self._subscribe(POLICIES)  # declares the parameters
        self.follow()

    @property
    def is_best_effort(self) -> bool:
        return self._subscription.qos_profile.reliability == BEST_EFFORT

    @property
    def is_latched(self) -> bool:
        return self._subscription.qos_profile.durability == TRANSIENT_LOCAL

    @property
    def qos_text(self) -> str:
        """For people: reliable, volatile."""
        qos = self._subscription.qos_profile
        return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}"

    @property
    def publishers(self) -> int:
        return self._node.count_publishers(self.topic)

    @property
    def age_s(self) -> float:
        """Seconds since the last message; inf if none has come."""
        return time.monotonic() - self._heard_at

    def follow(self) -> None:
        """Match what the publishers offer now; `trouble` says what can't be matched ("" if nothing)."""
        wanted_type = f"sensor_msgs/msg/{self._kind.__name__}"
        found = self._node.get_publishers_info_by_topic(self.topic)
        ours = [info for info in found if info.topic_type == wanted_type]
        offers = [info.qos_profile for info in ours]
        reliability = reliability_to_ask((qos.reliability for qos in offers), self._reliability)
        durability = self._durability
        if self._latched:
            durability = durability_to_ask((qos.durability for qos in offers), durability)
        if (reliability, durability) != (self._reliability, self._durability):
            self._reliability, self._durability = reliability, durability
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe(self._given)
            self._node.get_logger().info(f"{self.topic}: subscribing {self.qos_text}")
        asked = self._subscription.qos_profile
        mute = [incompatible_publisher(self.topic, full_name(info), info.qos_profile, asked) for info in ours]
        foreign = {info.topic_type for info in found} - {wanted_type}
        self.trouble = self._foreign(foreign) or "; ".join(filter(None, mute))

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _foreign(self, types: set[str]) -> str:
        if not types:
            return ""
        return (
            f"{self.topic} carries {', '.join(sorted(types))}, not sensor_msgs/msg/{self._kind.__name__}: "
            "remap image to the colour topic and set image_transport to raw or compressed as it is"
        )

    def _subscribe(self, policies: Any) -> Any:
        return self._node.create_subscription(
            self._kind,
            self.topic,
            self._heard,
            input_qos(self._reliability, self._durability),
            # rclpy's own callbacks would warn of an incompatible publisher, which follow() sees to.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            qos_overriding_options=overridable(policies),
        )

    def _heard(self, msg: Any) -> None:
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
        topics = resolve_inputs(node, image_transport)
        self.infos = CameraInfos()

        def hear_info(info: CameraInfo) -> None:
            self.infos.add(info)
            on_camera_info()

        kind = CompressedImage if image_transport == "compressed" else Image
        self.camera_info = FollowingSubscription(
            node, CameraInfo, topics.camera_info, hear_info, latched=True
        )
        self.image = FollowingSubscription(node, kind, topics.image, on_image)

    def follow(self) -> None:
        """Follow both publishers."""
        self.image.follow()
        self.camera_info.follow()

    def close(self) -> None:
        """End both subscriptions."""
        self.image.close()
        self.camera_info.close()
