"""What a configured node has: estimator, publishers, and the worker thread that turns images into depth."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from rclpy.node import Node

from hand_depth_ros.errors import CameraError, HandDepthError
from hand_depth_ros.ros.messages.pipeline import process_frame
from hand_depth_ros.ros.messages.stamps import stamp_ns
from hand_depth_ros.ros.node.fallback_estimator import EstimatorFactory, SteadyEstimator
from hand_depth_ros.ros.node.inputs import ColourCamera
from hand_depth_ros.ros.node.outputs import Outputs
from hand_depth_ros.ros.node.reporter import Report
from hand_depth_ros.ros.node.tf import OutputFrame
from hand_depth_ros.ros.node.worker import Worker
from hand_depth_ros.ros.parameters import Value, output_settings

PARTNER_TIMEOUT_S = 0.25
"""How long an image waits for the camera_info of its stamp, while they come in pairs."""


class Engine:
    """Made when the node is configured, closed when it is cleaned up.

    Args:
        node: Publishes.
        factory: Makes the estimator.
        values: Of all parameters.
        frame: Gives the outputs their header.
        report: Counts frames and says why one is refused.

    Raises:
        HandDepthError: Weights or device won't do; nothing is left behind then.
    """

    def __init__(
        self,
        node: Node,
        factory: EstimatorFactory,
        values: Mapping[str, Value],
        frame: OutputFrame,
        report: Report,
    ) -> None:
        self._node, self._frame, self._report = node, frame, report
        self._settings = output_settings(values)
        self._between_frames = threading.Lock()  # held while a frame is worked on
        self._publishing = threading.Lock()  # held while one is published
        self._reset_tracks = threading.Event()
        self._camera: ColourCamera | None = None
        with ExitStack() as undo:
            self._estimator = SteadyEstimator(factory, values, node.get_logger().error)
            undo.callback(self._estimator.close)
            self.outputs = Outputs(node, report.topics.camera_info)
            undo.callback(self.outputs.close)
            self._worker = Worker(self._estimator.warm_up, self._work)
            self._worker.wait_until_ready()
            self._free = undo.pop_all()

    def close(self) -> None:
        """End the worker, then free the estimator with its memory, the device's too, and the publishers.

        Raises:
            HandDepthError: The worker hangs; nothing is freed then.
        """
        self._worker.close()
        self._free.close()

    @property
    def device(self) -> str:
        return self._estimator.device

    @property
    def fallback(self) -> str:
        """Why the CPU is used although a GPU is there, or ""."""
        return self._estimator.fallback

    def activate(self, camera: ColourCamera) -> None:
        """From now on frames of `camera` are published; nothing that was seen before counts."""
        self.start_over()
        self._camera = camera

    def deactivate(self) -> None:
        """Nothing is published after this, not even the frame in work."""
        with self._publishing:
            self._camera = None
        if self._worker.empty():
            self._report.statistics.add_dropped()

    def put(self, camera: ColourCamera, image: Any) -> None:
        """Work on this image next."""
        if self._worker.put((camera, image, time.perf_counter())):
            self._report.statistics.add_dropped()

    def configure(self, values: Mapping[str, Value]) -> None:
        """Take over parameter values between two frames, all or nothing; ValueError says what is wrong."""
        with self._between_frames:
            self._estimator.configure(values)
            self._settings = output_settings(values)

    def start_over(self) -> None:
        """Forget the hands that are followed before the next frame; doesn't wait for the one in work."""
        self._reset_tracks.set()

    def reset(self) -> None:
        """Forget the hands that are followed, between two frames."""
        with self._between_frames:
            self._estimator.reset()

    def recalibrate(self) -> int:
        """Forget the estimated length of the hands that are followed, between two frames; returns how many."""
        with self._between_frames:
            return self._estimator.recalibrate()

    # The worker thread

    def _work(self, item: tuple[ColourCamera, Any, float]) -> None:
        topics, camera = self._report.topics, item[0]
        try:
            self._process(*item)
        except CameraError as error:
            gone = camera.infos.latest is not None and not camera.camera_info.publishers
            past = "nobody publishes it any more, start it again; the last one that came: " if gone else ""
            self._report.refuse("camera", f"{topics.camera_info}: {past}{error}")
        except HandDepthError as error:
            self._report.refuse("image", f"{topics.image}: {error}")
        except Exception as error:  # the node must outlive whatever a frame does to it
            if not self._node.context.ok():
                return
            self._node.get_logger().debug(traceback.format_exc())
            self.start_over()  # what was followed may be what it stumbled over
            reason = f"{type(error).__name__}: {error}; frame left out, tracking starts over"
            self._report.refuse("failure", f"{topics.image}: {reason}")

    def _process(self, camera: ColourCamera, image: Any, came_in: float) -> None:
        statistics = self._report.statistics
        wanted = self.outputs.wanted()
        if not wanted:
            statistics.add_unwanted()
            return
        info = camera.infos.match(stamp_ns(image.header), PARTNER_TIMEOUT_S)
        if info is None:
            raise CameraError(
                "no camera_info has come yet: publish it beside the image, or remap camera_info"
            )
        with self._between_frames:
            if self._reset_tracks.is_set():
                self._reset_tracks.clear()
                self._estimator.reset()
            result = process_frame(self._estimator, image, info, wanted, self._settings)
        with self._publishing:
            if camera is not self._camera:  # deactivated meanwhile
                statistics.add_dropped()
                return
            self.outputs.publish(result.outputs, info, self._frame.header(image.header))
        hands = result.frame.hands if result.frame is not None else ()
        statistics.add_published(
            1e3 * (time.perf_counter() - came_in),
            len(hands),
            sum(math.isfinite(hand.depth_m) for hand in hands),
            result.timings,
        )
