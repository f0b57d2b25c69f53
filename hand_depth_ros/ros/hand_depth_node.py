"""The node: a colour camera in, an RGBD camera out, for hands.

The image callback puts the frame into a one-slot mailbox and returns; one worker thread takes the newest,
decodes, estimates, encodes and publishes. Latency never grows; frames that are overtaken are counted.
Everything that needs no ROS is elsewhere: `pipeline.process_frame` is the whole work on a frame and is the
bag tool's as well.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from hand_depth_ros.errors import CameraError, HandDepthError
from hand_depth_ros.ros import parameters
from hand_depth_ros.ros.camera_infos import CameraInfos, stamp_ns
from hand_depth_ros.ros.diagnostics import Health, Rate, Statistics
from hand_depth_ros.ros.inputs import ColourCamera
from hand_depth_ros.ros.mailbox import Mailbox
from hand_depth_ros.ros.outputs import Outputs
from hand_depth_ros.ros.pipeline import process_frame
from hand_depth_ros.ros.tf import OutputFrame
from hand_depth_ros.ros.throttle import Throttle

EstimatorFactory = Callable[[Mapping[str, parameters.Value]], Any]
PARTNER_TIMEOUT_S = 0.1
"""How long an image waits for the camera_info of its stamp, while they come in pairs."""
FOLLOW_PERIOD_S = 0.5
GRACE_S = 5.0
"""So long after the start, what hasn't come yet isn't logged; /diagnostics tells it at once."""
_NUMBERS_AND_NAMES = re.compile(r"'[^']*'|[\d.]+")
DIAGNOSTICS_PERIOD_S = 1.0


def shipped_estimator(values: Mapping[str, parameters.Value]) -> Any:
    """The real estimator for a set of parameter values."""
    import cv2
    import torch

    from hand_depth_ros.estimator import HandDepthEstimator

    # On all the cores, the network's threads wait for each other whenever the camera or DDS needs one of them.
    threads = int(values["num_threads"]) or max(1, (os.cpu_count() or 2) // 2)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return HandDepthEstimator.from_pretrained(
        weights=values["weights"] or None,
        device=values["device"],
        **parameters.estimator_settings(values),
    )


class HandDepthNode(Node):
    """Subscribes to a colour camera, publishes depth registered to it.

    Args:
        estimator_factory: Makes the estimator from the parameter values; tests put a fake here.
        node_arguments: As rclpy.node.Node takes them.

    Raises:
        HandDepthError: A parameter, the weights or the device won't do.
    """

    def __init__(
        self, estimator_factory: EstimatorFactory = shipped_estimator, **node_arguments: Any
    ) -> None:
        super().__init__("hand_depth", **node_arguments)
        try:
            self._set_up(estimator_factory)
        except BaseException:
            self.destroy_node()
            raise

    def _set_up(self, estimator_factory: EstimatorFactory) -> None:
        self._values = self._declare()
        self._output_settings = parameters.output_settings(self._values)
        self._estimator = estimator_factory(self._values)
        self._between_frames = threading.Lock()  # held while a frame is worked on
        self._reset_tracks = threading.Event()
        self._infos = CameraInfos()
        self._mailbox: Mailbox[tuple[Any, float]] = Mailbox()
        self._statistics = Statistics()
        self._may_say = Throttle()
        self._image_heard = self._info_heard = -float("inf")
        self._last_stamp: int | None = None
        self._started = time.monotonic()

        self._frame = OutputFrame(self, str(self._values["depth_frame_id"]))
        self._camera = ColourCamera(
            self, str(self._values["image_transport"]), self._on_image, self._on_camera_info
        )
        self._outputs = Outputs(self, self._camera.topics.camera_info)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._rates = {name: Rate() for name in ("image", "camera_info", "output")}
        self._worker = threading.Thread(target=self._work, name="hand_depth worker", daemon=True)

        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=lambda _jump: self._start_over(),
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(FOLLOW_PERIOD_S, self._camera.follow, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose, clock=steady)
        self._worker.start()
        topics = self._camera.topics
        self.get_logger().info(
            f"hand depth on {self._estimator.device}: {topics.image} and {topics.camera_info} in"
        )

    def close(self) -> None:
        """Stop the worker after the frame that it is at, and let the estimator go."""
        self._mailbox.close()
        self._worker.join(timeout=10.0)
        self._estimator.close()
        self.destroy_node()

    # Parameters

    def _declare(self) -> dict[str, parameters.Value]:
        values = {
            p.name: self.declare_parameter(p.name, p.default, _descriptor(p)).value
            for p in parameters.PARAMETERS
        }
        unknown = [name for name in self._parameter_overrides if not self.has_parameter(name)]
        for name in parameters.refuse_misspelt(unknown):
            self.get_logger().warning(f"parameter {name!r} is not one of this node's: it has no effect")
        return parameters.check_values(values)

    def _on_set_parameters(self, changes: list[Any]) -> SetParametersResult:
        """All or nothing, between two frames."""
        ours = {change.name: change.value for change in changes if change.name in parameters.BY_NAME}
        try:
            values = parameters.check_values({**self._values, **ours})
            old, new = parameters.estimator_settings(self._values), parameters.estimator_settings(values)
            with self._between_frames:
                self._estimator.configure(**{name: new[name] for name in new if new[name] != old[name]})
                self._output_settings = parameters.output_settings(values)
                self._values = values
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # Callbacks: quick, in the executor's thread

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self._info_heard = time.monotonic()
        self._infos.add(msg)

    def _on_image(self, msg: Any) -> None:
        self._image_heard = time.monotonic()
        stamp, last = stamp_ns(msg.header), self._last_stamp
        self._last_stamp = stamp
        if last is not None and stamp < last:
            self._start_over()
            self._refuse(
                "stamp",
                f"{self._camera.topics.image}: the stamp jumps back by {1e-9 * (last - stamp):.3f} s: this "
                "frame is left out and tracking starts over. Unless a bag is looping, look for a second "
                "publisher or a clock that was set",
            )
            return
        self._mailbox.put((msg, time.perf_counter()))

    def _start_over(self) -> None:
        """Time has jumped back: nothing that was seen before counts."""
        self._infos.clear()
        self._reset_tracks.set()

    # The worker thread

    def _work(self) -> None:
        self._warm_up()
        while (item := self._mailbox.take()) is not None:
            image, came_in = item
            try:
                self._process(image, came_in)
            except CameraError as error:
                self._refuse("camera", f"{self._camera.topics.camera_info}: {error}")
            except HandDepthError as error:
                self._refuse("image", f"{self._camera.topics.image}: {error}")
            except Exception as error:  # the node must outlive whatever a frame does to it
                if not self.context.ok():
                    return
                self.get_logger().debug(traceback.format_exc())
                self._refuse(
                    "failure", f"{self._camera.topics.image}: {type(error).__name__}: {error}; frame left out"
                )

    def _warm_up(self) -> None:
        """The first inference is slow: have it done before the first frame."""
        from hand_depth_ros.camera import Camera

        try:
            with self._between_frames:
                self._estimator.warm_up(Camera.from_hfov(640, 480, 60.0))
        except Exception as error:  # frames will tell again
            self._refuse("failure", f"warm-up: {type(error).__name__}: {error}")

    def _process(self, image: Any, came_in: float) -> None:
        wanted = self._outputs.wanted()
        if not wanted:
            return
        info = self._infos.match(stamp_ns(image.header), PARTNER_TIMEOUT_S)
        if info is None:
            raise CameraError(
                "no camera_info has come yet: publish it beside the image, or remap camera_info"
            )
        with self._between_frames:
            if self._reset_tracks.is_set():
                self._reset_tracks.clear()
                self._estimator.reset()
            result = process_frame(self._estimator, image, info, wanted, self._output_settings)
        self._outputs.publish(result.outputs, info, self._frame.header(image.header))
        hands = result.frame.hands if result.frame is not None else ()
        self._statistics.add_published(
            1e3 * (time.perf_counter() - came_in),
            len(hands),
            sum(math.isfinite(hand.depth_m) for hand in hands),
            result.timings,
        )

    # What it says about itself

    def _refuse(self, kind: str, reason: str) -> None:
        """Count a frame that gives no output, and say why: once in a while, not every time."""
        self._statistics.add_refused(reason)
        if self._may_say(kind + _NUMBERS_AND_NAMES.sub("#", reason)):
            logger = self.get_logger()
            logger.warning(reason) if kind == "stamp" else logger.error(reason)

    def _diagnose(self) -> None:
        camera, now, statistics = self._camera, time.monotonic(), self._statistics
        p50, p95 = statistics.percentiles()
        wanted = self._outputs.wanted()
        seen, with_depth = statistics.hands
        health = Health(
            image_topic=camera.topics.image,
            camera_info_topic=camera.topics.camera_info,
            image_publishers=camera.image.publishers,
            camera_info_publishers=camera.camera_info.publishers,
            image_rate=self._rates["image"](camera.image.received),
            camera_info_rate=self._rates["camera_info"](camera.camera_info.received),
            output_rate=self._rates["output"](statistics.published),
            image_age_s=now - self._image_heard,
            camera_info_age_s=now - self._info_heard,
            best_effort=camera.image.is_best_effort,
            subscribers=len(wanted),
            hands_seen=seen,
            hands=with_depth,
            trouble=camera.image.trouble or camera.camera_info.trouble,
            refusal=statistics.refusal,
            values={
                "latency p50 (ms)": f"{p50:.1f}",
                "latency p95 (ms)": f"{p95:.1f}",
                "dropped": str(self._mailbox.replaced),
                "refused": str(statistics.refused),
                "published": str(statistics.published),
                "device": str(self._estimator.device),
                "weights": str(self._values["weights"]) or "shipped",
                **{f"{name} (ms)": f"{value:.1f}" for name, value in statistics.timings.items()},
            },
        )
        status = health.to_status(f"{self.get_name()}: depth", camera.topics.image)
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)
        settled = (
            now - self._started > GRACE_S and not health.refusal
        )  # refusals were logged when they happened
        if (
            status.level != DiagnosticStatus.OK
            and settled
            and self._may_say(_NUMBERS_AND_NAMES.sub("#", status.message))
        ):
            self.get_logger().warning(status.message)


def _descriptor(parameter: parameters.Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.text,
        read_only=parameter.read_only,
        additional_constraints=parameter.range,
        dynamic_typing=parameter.type
        == "double",  # so that a whole number is taken; the table checks the type
    )
    low, high = parameter.low, parameter.high
    if low is not None and high is not None and parameter.off is None:
        if parameter.type == "int":
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    return descriptor
