"""Start and stop the colour relay: `ros2 run hand_depth_ros colour_relay`."""

from __future__ import annotations

import sys

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.node.runtime import init_ros


def main(argv: list[str] | None = None) -> int:
    """Run the relay until SIGINT or SIGTERM; return 1 if it cannot start (stderr says why)."""
    try:
        init_ros(args=argv if argv is not None else sys.argv)
        return _run()
    except HandDepthError as error:
        print(f"colour_relay: {error}", file=sys.stderr)
        return 1


def _run() -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException

    from hand_depth_ros.ros.node.colour_relay_node import ColourRelay

    relay = None
    try:
        relay = ColourRelay()
        rclpy.spin(relay)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if relay is not None:  # left to the interpreter's end, its destruction can meet a DDS that is gone
            relay.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
