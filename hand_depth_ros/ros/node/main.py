"""Start and stop the node: `ros2 run hand_depth_ros hand_depth_node` and `hand-depth node`.

Imports nothing slow before `main` runs, so that Ctrl-C leaves no traceback whenever it comes.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.node.runtime import init_ros, one_line, prepare_ros

if TYPE_CHECKING:
    from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode


def main(argv: list[str] | None = None, estimator_factory: Callable[..., Any] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Args:
        argv: Command line without the program's name (None: sys.argv[1:]); `--ros-args ...` is
            ROS's.
        estimator_factory: As `HandDepthNode` takes it; None: the real estimator.

    Returns:
        Exit code: 0 after a signal; 1, with a line on stderr, if it cannot start; 2 for wrong
        arguments.
    """
    arguments = ["hand_depth_node", *(sys.argv[1:] if argv is None else argv)]
    early = _EarlySignals()
    before = {}
    if threading.current_thread() is threading.main_thread():  # before ROS listens
        before = {number: signal.signal(number, early) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _run(arguments, estimator_factory, early)
    except KeyboardInterrupt:
        return 0
    except HandDepthError as error:
        print(f"hand_depth_node: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _EarlySignals:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM until ROS handles them.

    The signal is remembered too, because Python drops an exception raised within an import's
    clean-up.
    """

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: Any) -> None:
        self.came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        if self.came:
            raise KeyboardInterrupt


def _run(arguments: list[str], estimator_factory: Callable[..., Any] | None, early: _EarlySignals) -> int:
    prepare_ros()
    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import ExternalShutdownException
    from rclpy.utilities import remove_ros_args

    try:
        unknown = remove_ros_args(arguments)[1:]
        if unknown:
            return _usage_error(f"unknown arguments {' '.join(unknown)}: parameters go after --ros-args -p")
        init_ros(args=arguments)
    except RuntimeError as error:
        if "ROSArgs" not in type(error).__name__:  # rclpy has no public name for these errors
            raise
        return _usage_error(f"check what follows --ros-args: {one_line(error)}")
    node: HandDepthNode | None = None
    try:
        early.check()
        from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode

        node = HandDepthNode(estimator_factory) if estimator_factory else HandDepthNode()
        rclpy.spin(node)
    except ExternalShutdownException:
        pass
    except ParameterException as error:
        raise HandDepthError(str(error)) from error
    except Exception:
        if rclpy.ok():
            raise  # otherwise a signal pulled the context away while the node was being made
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


def _usage_error(text: str) -> int:
    print(f"hand_depth_node: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
