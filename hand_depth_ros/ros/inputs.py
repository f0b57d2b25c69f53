"""The colour camera's two topics: which they are, and a subscription that follows what their publishers
offer.

Names. `image` and `camera_info` are remapped as usual. Consumers of ROS cameras take the camera_info beside
the image, and so does this node: unless `camera_info` is itself remapped, it is the sibling of the *resolved*
image topic, so that `-r image:=/wrist/color/image_raw` alone is enough (it takes /wrist/color/camera_info).
With image_transport compressed, the subscription goes to the resolved image topic + /compressed, as
image_transport does; a name that already ends so, and a remap of `image/compressed`, are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.ros.qos import (
    BEST_EFFORT,
    RELIABLE,
    VOLATILE,
    durability_to_ask,
    input_qos,
    reliability_to_ask,
)
from hand_depth_ros.ros.topics import sibling_camera_info

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

    Starts reliable and volatile. `follow()` compares with the graph; the node calls it now and then. `latched`:
    a message that was published before we came is wanted too, where it is kept for us.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], latched: bool = False
    ) -> None:
        self._node, self._kind, self.topic, self._callback = node, kind, topic, callback
        self._reliability, self._durability, self._latched = RELIABLE, VOLATILE, latched
        self.received = 0
        self.trouble = ""
        self._subscription = self._subscribe()

    @property
    def is_best_effort(self) -> bool:
        return self._reliability == BEST_EFFORT

    @property
    def publishers(self) -> int:
        return self._node.count_publishers(self.topic)

    def follow(self) -> None:
        """Match what the publishers offer now; `trouble` says what can't be matched ("" if nothing)."""
        wanted_type = f"sensor_msgs/msg/{self._kind.__name__}"
        found = self._node.get_publishers_info_by_topic(self.topic)
        foreign = {info.topic_type for info in found} - {wanted_type}
        self.trouble = ""
        if foreign:
            self.trouble = (
                f"{self.topic} carries {', '.join(sorted(foreign))}, not {wanted_type}: "
                "remap image to the colour topic and set image_transport to raw or compressed as it is"
            )
        offers = [info.qos_profile for info in found if info.topic_type == wanted_type]
        reliability = reliability_to_ask((qos.reliability for qos in offers), self._reliability)
        durability = self._durability
        if self._latched:
            durability = durability_to_ask((qos.durability for qos in offers), durability)
        if (reliability, durability) == (self._reliability, self._durability):
            return
        self._reliability, self._durability = reliability, durability
        self._node.get_logger().info(
            f"{self.topic}: subscribing {reliability.name.lower()}, {durability.name.lower()}, as it is published"
        )
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe()

    def _subscribe(self) -> Any:
        return self._node.create_subscription(
            self._kind,
            self.topic,
            self._heard,
            input_qos(self._reliability, self._durability),
            # rclpy's own callbacks would warn of an incompatible publisher, which follow() sees to.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )

    def _heard(self, msg: Any) -> None:
        self.received += 1
        self._callback(msg)


class ColourCamera:
    """The image and camera_info subscriptions of the node."""

    def __init__(
        self,
        node: Node,
        image_transport: str,
        on_image: Callable[[Any], None],
        on_camera_info: Callable[[Any], None],
    ) -> None:
        self.topics = resolve_inputs(node, image_transport)
        kind = CompressedImage if image_transport == "compressed" else Image
        self.image = FollowingSubscription(node, kind, self.topics.image, on_image)
        self.camera_info = FollowingSubscription(
            node, CameraInfo, self.topics.camera_info, on_camera_info, latched=True
        )

    def follow(self) -> None:
        """Follow both publishers."""
        self.image.follow()
        self.camera_info.follow()
