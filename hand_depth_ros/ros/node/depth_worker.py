"""Turn images into published depth, in a worker thread, while the node is configured."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from rclpy.node import Node

from hand_depth_ros.errors import CameraError, HandDepthError
from hand_depth_ros.ros.messages.decode import ImageDecoder
from hand_depth_ros.ros.messages.pipeline import process_frame
from hand_depth_ros.ros.messages.stamps import stamp_ns
from hand_depth_ros.ros.node.assumed_camera import NodeAssumedCamera
from hand_depth_ros.ros.node.fallback_estimator import EstimatorFactory, FallbackEstimator
from hand_depth_ros.ros.node.inputs import ColourCamera
from hand_depth_ros.ros.node.outputs import Outputs
from hand_depth_ros.ros.node.reporter import Reporter
from hand_depth_ros.ros.node.tf import OutputFrame
from hand_depth_ros.ros.node.worker import Worker
from hand_depth_ros.ros.parameters import Value, decode_settings, output_settings

ASSUME_AFTER_S = 2.0
"""After activation, a camera is assumed no earlier: its camera_info may not be discovered yet."""
PARTNER_TIMEOUT_S = 0.25
"""Time that an image waits for the camera_info of its stamp, while they come in pairs."""


class Job(NamedTuple):
    """One image to work on: its camera, the message, and when it came in (time.perf_counter)."""

    camera: ColourCamera
    image: Any
    came_in_s: float


class NoCameraInfoYet(CameraError):
    """No camera_info has come since the node was activated."""


class DepthWorker:
    """Own what a configured node has: estimator, publishers and the worker thread.

    Args:
        node: Publishes.
        factory: Makes the estimator.
        values: All parameters.
        frame: Gives the outputs their header.
        reporter: Counts frames and reports why one is refused.

    Raises:
        HandDepthError: Weights or device cannot be used; nothing is left behind.
    """

    def __init__(
        self,
        node: Node,
        factory: EstimatorFactory,
        values: Mapping[str, Value],
        frame: OutputFrame,
        reporter: Reporter,
    ) -> None:
        self._node, self._frame, self._reporter = node, frame, reporter
        self._settings = output_settings(values)
        self._decode_settings = decode_settings(values)
        self._decoder = ImageDecoder(self._decode_settings, self._report_bit_depth)
        self._between_frames = threading.Lock()  # held while a frame is estimated
        self._publishing = threading.Lock()  # held while one is published
        self._reset_requested = threading.Event()
        self._camera: ColourCamera | None = None
        self._activated_s = 0.0
        self._assumed_camera = NodeAssumedCamera.from_parameters(values)
        with ExitStack() as undo:
            self._estimator = FallbackEstimator(factory, values, node.get_logger().error)
            undo.callback(self._estimator.close)
            self.outputs = Outputs(node, reporter.topics.camera_info_candidates)
            undo.callback(self.outputs.close)
            self._worker = Worker(self._estimator.warm_up, self._work)
            self._worker.wait_until_ready()
            self._resources = undo.pop_all()

    def close(self) -> None:
        """End the worker, then free estimator, device memory and publishers.

        Raises:
            HandDepthError: The worker hangs; nothing is freed.
        """
        self._worker.close()
        self._resources.close()

    @property
    def device(self) -> str:
        """The device that the networks run on now."""
        return self._estimator.device

    @property
    def fallback(self) -> str:
        """Why the CPU is used although a GPU is there, or ""."""
        return self._estimator.fallback

    def activate(self, camera: ColourCamera) -> None:
        """Publish the frames of `camera` from now on; nothing seen before counts."""
        self.request_reset()
        self._reporter.images.clear()
        self._decoder = ImageDecoder(self._decode_settings, self._report_bit_depth)
        self._reporter.assumed_camera = ""
        self._activated_s = time.monotonic()
        self._camera = camera

    def deactivate(self) -> None:
        """Publish nothing after this, not even the current frame."""
        with self._publishing:
            self._camera = None
        if self._worker.empty():
            self._reporter.statistics.add_dropped()

    def put(self, camera: ColourCamera, image: Any) -> None:
        """Work on this image next."""
        if self._worker.put(Job(camera, image, time.perf_counter())):
            self._reporter.statistics.add_dropped()

    def configure(self, values: Mapping[str, Value]) -> None:
        """Apply parameter values between two frames, all or nothing.

        Raises:
            ValueError: A value cannot be used.
        """
        with self._between_frames:
            self._estimator.configure(values)
            self._settings = output_settings(values)

    def request_reset(self) -> None:
        """Drop all tracks before the next frame, without waiting for the current one."""
        self._reset_requested.set()

    def reset(self) -> None:
        """Drop all tracks, between two frames."""
        with self._between_frames:
            self._estimator.reset()

    def recalibrate(self) -> int:
        """Discard the estimated lengths of tracked hands; return how many hands there are."""
        with self._between_frames:
            return self._estimator.recalibrate()

    @property
    def bit_depth(self) -> int | None:
        """Bit depth of 16-bit images; None if there were none."""
        return self._decoder.bit_depth

    # The worker thread

    def _report_bit_depth(self, text: str) -> None:
        self._node.get_logger().info(f"{self._reporter.topics.image}: {text}")

    def _work(self, job: Job) -> None:
        topics = self._reporter.topics
        try:
            self._process(job)
        except NoCameraInfoYet as error:
            self._reporter.refuse("camera", f"{topics.camera_info}: {error}", may_come=True)
        except CameraError as error:
            camera = job.camera
            gone = camera.infos.latest is not None and not camera.camera_info.publishers
            past = "nobody publishes it any more, start it again; the last message: " if gone else ""
            self._reporter.refuse("camera", f"{topics.camera_info}: {past}{error}")
        except HandDepthError as error:
            self._reporter.refuse("image", f"{topics.image}: {error}")
        except Exception as error:  # the node must survive whatever a frame does to it
            if not self._node.context.ok():
                return
            self._node.get_logger().debug(traceback.format_exc())
            self.request_reset()  # a track may be what it failed on
            reason = f"{type(error).__name__}: {error}; frame skipped, tracking starts over"
            self._reporter.refuse("failure", f"{topics.image}: {reason}")

    def _camera_info(self, job: Job) -> Any:
        """Return the image's camera_info, or that of the assumed camera where none (usable) comes.

        Raises:
            NoCameraInfoYet: There is neither.
        """
        latest = job.camera.infos.latest
        uncalibrated = latest is None or not latest.k[0] > 0.0  # as drivers without calibration have it
        if self._assumed_camera is None or not uncalibrated:
            info = job.camera.infos.match(stamp_ns(job.image.header), PARTNER_TIMEOUT_S)
            if info is None:
                raise NoCameraInfoYet(
                    "no camera_info has come yet: publish it beside the image, remap camera_info, or "
                    "describe the camera with camera_info_url or hfov_deg"
                )
            self._reporter.assume_camera("")
            return info
        if time.monotonic() < self._activated_s + ASSUME_AFTER_S:
            raise NoCameraInfoYet("no camera_info has come yet: a camera is assumed if none comes")
        info = self._assumed_camera.camera_info(job.image)
        self._reporter.assume_camera(self._assumed_camera.describe())
        return info

    def _process(self, job: Job) -> None:
        statistics = self._reporter.statistics
        wanted = self.outputs.wanted()
        if not wanted:
            statistics.add_unwanted()
            return
        info = self._camera_info(job)
        with self._between_frames:
            if self._reset_requested.is_set():
                self._reset_requested.clear()
                self._estimator.reset()
            result = process_frame(self._estimator, job.image, info, wanted, self._settings, self._decoder)
        if result.rgb is not None:
            self._reporter.check_image(result.rgb, self._decoder.damage)
        with self._publishing:
            if job.camera is not self._camera:  # deactivated meanwhile
                statistics.add_dropped()
                return
            self.outputs.publish(result.outputs, info, self._frame.header(job.image.header))
        hands = result.frame.hands if result.frame is not None else ()
        statistics.add_published(
            1e3 * (time.perf_counter() - job.came_in_s),
            len(hands),
            sum(math.isfinite(hand.depth_m) for hand in hands),
            result.timings,
        )
