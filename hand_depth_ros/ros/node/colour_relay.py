"""A colour camera passed on under other names: image and camera_info as they are, but for the frame id.

Beside the node it makes a whole RGBD camera of a colour camera whose topics cannot be renamed at its own driver
(launch/rgbd_camera.launch.py starts it when it is needed). Reads `image` and the camera_info beside it, publishes
`colour/image_raw` and `colour/camera_info`; with `image_transport: compressed`, `image/compressed` to
`colour/image_raw/compressed`.
"""

from __future__ import annotations

import sys
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.node.inputs import COMPRESSED, FollowingSubscription, resolve_inputs
from hand_depth_ros.ros.node.tf import OutputFrame
from hand_depth_ros.ros.qos import output_qos, overridable

FOLLOW_PERIOD_S = 0.5


class ColourRelay(Node):
    """Publishes what it hears, while somebody listens. Stamps are kept, so that colour pairs with depth."""

    def __init__(self) -> None:
        super().__init__("colour_relay")
        transport = str(self.declare_parameter("image_transport", "raw").value)
        frame_id = str(self.declare_parameter("frame_id", "").value)
        if transport not in ("raw", "compressed"):
            self.destroy_node()
            raise HandDepthError(f"image_transport {transport!r}: raw or compressed is needed")
        compressed = transport == "compressed"
        name = self.resolve_topic_name("colour/image_raw") + COMPRESSED * compressed
        kind = CompressedImage if compressed else Image
        self._frame = OutputFrame(self, frame_id)
        inputs = resolve_inputs(self, transport)
        self._relays = [
            self._relay(kind, inputs.image, name, latched=False),
            self._relay(CameraInfo, inputs.camera_info, "colour/camera_info", latched=True),
        ]
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _relay(self, kind: type, source: str, target: str, latched: bool) -> FollowingSubscription:
        publisher = self.create_publisher(kind, target, output_qos(), qos_overriding_options=overridable())

        def pass_on(msg: Any) -> None:
            if publisher.get_subscription_count():
                msg.header = self._frame.header(msg.header)
                publisher.publish(msg)

        return FollowingSubscription(self, kind, source, pass_on, latched)

    def _follow(self) -> None:
        for relay in self._relays:
            relay.follow()


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; 1 if it cannot start."""
    rclpy.init(args=argv if argv is not None else sys.argv)
    relay = None
    try:
        relay = ColourRelay()
        rclpy.spin(relay)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except HandDepthError as error:
        print(f"colour_relay: {error}", file=sys.stderr)
        return 1
    finally:
        if relay is not None:  # left to the interpreter's end, its destruction can meet a DDS that is gone
            relay.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
