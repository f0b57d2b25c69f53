"""Republish a colour camera under other names: the same image and camera_info but for the frame id.

Beside the node it completes an RGBD camera where the colour topics cannot be renamed at the driver
(launch/rgbd_camera.launch.py starts it when it is needed).
"""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.messages.topics import COMPRESSED_IMAGE
from hand_depth_ros.ros.node.inputs import FollowingSubscription, find_inputs, resolve_inputs
from hand_depth_ros.ros.node.tf import OutputFrame
from hand_depth_ros.ros.qos import output_qos, overridable

FOLLOW_PERIOD_S = 0.5


class ColourRelay(Node):
    """Publish what it receives, while somebody listens.

    Stamps are kept, so that colour pairs with depth.

    Parameters:
        image_transport (raw or compressed): how the image comes, and goes out.
        frame_id: frame id of what goes out. Empty: as it comes in.

    Subscribers:
        image (sensor_msgs/Image), or image/compressed (sensor_msgs/CompressedImage). camera_info
        (sensor_msgs/CameraInfo): the one beside the image, wherever that is remapped to.

    Publishers:
        colour/image_raw (sensor_msgs/Image), or colour/image_raw/compressed
        (sensor_msgs/CompressedImage), and colour/camera_info (sensor_msgs/CameraInfo).

    Raises:
        HandDepthError: image_transport is neither raw nor compressed.
    """

    def __init__(self) -> None:
        super().__init__("colour_relay")
        transport = str(self.declare_parameter("image_transport", "raw").value)
        frame_id = str(self.declare_parameter("frame_id", "").value)
        if transport not in ("raw", "compressed"):
            self.destroy_node()
            raise HandDepthError(f"image_transport {transport!r}: raw or compressed is needed")
        compressed = transport == "compressed"
        image = self.resolve_topic_name("colour/image_raw") + COMPRESSED_IMAGE * compressed
        self._frame = OutputFrame(self, frame_id)
        self._publish_image = self._forward(CompressedImage if compressed else Image, image)
        self._publish_info = self._forward(CameraInfo, "colour/camera_info")
        self._inputs = resolve_inputs(self, transport)
        self._image = self._subscribe_image()
        self._info = self._subscribe_info()
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _forward(self, kind: type, topic: str) -> Any:
        """Return a callback that publishes messages of this kind on `topic`."""
        publisher = self.create_publisher(kind, topic, output_qos(), qos_overriding_options=overridable())

        def publish(msg: Any) -> None:
            if publisher.get_subscription_count():
                msg.header = self._frame.header(msg.header)
                publisher.publish(msg)

        return publish

    def _follow(self) -> None:
        before, self._inputs = self._inputs, find_inputs(self, self._inputs)
        if self._inputs.image != before.image:
            self._image.close()
            self._image = self._subscribe_image()
        if self._inputs.camera_info != before.camera_info:
            self._info.close()
            self._info = self._subscribe_info()
        self._image.follow()
        self._info.follow()

    def _subscribe_image(self) -> FollowingSubscription:
        kind = CompressedImage if self._inputs.transport == "compressed" else Image
        return FollowingSubscription(self, kind, self._inputs.image, self._publish_image)

    def _subscribe_info(self) -> FollowingSubscription:
        return FollowingSubscription(
            self, CameraInfo, self._inputs.camera_info, self._publish_info, latched=True
        )
