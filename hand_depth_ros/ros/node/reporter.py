"""Report what the node does: refused frames in the log, and a DiagnosticStatus every second."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from hand_depth_ros.ros.diagnostics.image_monitor import ImageMonitor
from hand_depth_ros.ros.diagnostics.stalled_topics import StalledTopics
from hand_depth_ros.ros.diagnostics.statistics import Rate, Statistics
from hand_depth_ros.ros.diagnostics.status import Health
from hand_depth_ros.ros.diagnostics.throttle import Throttle
from hand_depth_ros.ros.messages.topics import other_transport
from hand_depth_ros.ros.node.inputs import ColourCamera, InputTopics
from hand_depth_ros.ros.node.outputs import Outputs
from hand_depth_ros.ros.qos import overridable

GRACE_S = 5.0
"""After activation, what has not come yet is logged no earlier (/diagnostics has it at once)."""
_NUMBERS_AND_NAMES = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\d.]+""")
"""Parts in which two lines with one meaning may differ; names are quoted as by repr."""


class Reporter:
    """Counters, log and diagnostics of a node.

    Args:
        node: Publishes /diagnostics.
        topics: The camera's.
    """

    def __init__(self, node: Node, topics: InputTopics) -> None:
        self._node, self.topics = node, topics
        self.statistics = Statistics()
        self.images = ImageMonitor()
        self.failure = ""
        self.assumed_camera = ""
        self._may_log = Throttle()
        self._grace_until = 0.0
        self._incompatible_subscribers: tuple[str, ...] = ()
        self._duplicate_publishers: tuple[str, ...] = ()
        self._stalled = StalledTopics()
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", 10, qos_overriding_options=overridable()
        )
        self._rates = {name: Rate() for name in ("image", "camera_info", "output")}

    def activated(self) -> None:
        """Start the grace period: images should come soon."""
        self._grace_until = time.monotonic() + GRACE_S

    def assume_camera(self, description: str) -> None:
        """Note the camera that is assumed ("" while a camera_info comes), and log a change."""
        if description == self.assumed_camera:
            return
        self.assumed_camera = description
        logger, topic = self._node.get_logger(), self.topics.camera_info
        if description:
            logger.warning(f"{topic}: no calibrated camera_info comes, this camera is assumed: {description}")
        else:
            logger.info(f"{topic}: camera_info comes, it is used instead of the assumed camera")

    def refuse(self, kind: str, reason: str, may_come: bool = False) -> None:
        """Count a frame that gives no output, and log why: now and then, not every time.

        Args:
            kind: Of reasons that are logged independently.
            reason: The line.
            may_come: What is missing may still come; it is not logged during the grace period.
        """
        self.statistics.add_refused(reason)
        if not (may_come and time.monotonic() < self._grace_until):
            self.log(kind, reason, error=kind != "stamp")

    def check_image(self, rgb: np.ndarray, damage: str) -> None:
        """Look for what makes depth impossible in a valid image; log a damaged one.

        Args:
            rgb: (H, W, 3) uint8.
            damage: What the image's data shows to be wrong, or "".
        """
        self.images.update(rgb, damage)
        if damage:
            self.log("damage", f"{self.topics.image}: {damage}")

    def log(self, kind: str, text: str, error: bool = False) -> None:
        """Log a line unless one like it was just logged."""
        if self._may_log(kind + _NUMBERS_AND_NAMES.sub("#", text)):
            logger = self._node.get_logger()
            logger.error(text) if error else logger.warning(text)

    def diagnose(
        self,
        state: str,
        camera: ColourCamera | None,
        outputs: Outputs | None,
        fallback: str,
        values: Mapping[str, str],
    ) -> None:
        """Publish how things are; log what is wrong.

        Args:
            state: Lifecycle state.
            camera: None while inactive.
            outputs: None while unconfigured.
            fallback: Why the CPU is used although a GPU is there, or "".
            values: Further key-value pairs to show.
        """
        incompatible = outputs.incompatible_subscribers() if outputs is not None else []
        duplicates = outputs.duplicate_publishers() if outputs is not None else []
        self._incompatible_subscribers = self._log_new(incompatible, self._incompatible_subscribers)
        self._duplicate_publishers = self._log_new(duplicates, self._duplicate_publishers)
        health = self._health(state, camera, outputs, fallback, values)
        status = health.to_status(f"{self._node.get_name()}: depth", self.topics.image)
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
        if time.monotonic() > self._grace_until:
            self._log_stalled_topics(health, listening=camera is not None)
            already_logged = (
                health.refusal,
                health.failure,
                "; ".join(self._incompatible_subscribers),
                "; ".join(self._duplicate_publishers),
                health.stop_text(health.stopped()),
            )
            if status.level != DiagnosticStatus.OK and status.message not in already_logged:
                self.log("health", status.message)

    def _log_stalled_topics(self, health: Health, listening: bool) -> None:
        """Warn once when the camera stops and once when it comes back, whatever else changes."""
        if not listening:
            self._stalled.clear()
            return
        ages = health.stopped()
        if health.refusal:
            ages.pop(health.camera_info_topic, None)  # the refusal says it
        stopped, resumed = self._stalled.update(ages)
        if stopped:
            self._node.get_logger().warning(health.stop_text(stopped))
        if resumed:
            verb = "comes" if len(resumed) == 1 else "come"
            self._node.get_logger().warning(
                f"{' and '.join(resumed)} {verb} again, after {max(resumed.values()):.0f} s"
            )

    def _log_new(self, sentences: Sequence[str], before: tuple[str, ...]) -> tuple[str, ...]:
        """Log the sentences that were not there before; return them all."""
        for sentence in sentences:
            if sentence not in before:
                self._node.get_logger().warning(sentence)
        return tuple(sentences)

    def _health(
        self,
        state: str,
        camera: ColourCamera | None,
        outputs: Outputs | None,
        fallback: str,
        values: Mapping[str, str],
    ) -> Health:
        statistics = self.statistics
        p50, p95 = statistics.percentiles()
        seen, with_depth = statistics.hands
        health = Health(
            image_topic=self.topics.image,
            camera_info_topic=self.topics.camera_info,
            node=self._node.get_fully_qualified_name(),
            state=state,
            failure=self.failure,
            image_rate=self._rates["image"](statistics.received),
            camera_info_rate=self._rates["camera_info"](statistics.infos_received),
            output_rate=self._rates["output"](statistics.published),
            subscribers=len(outputs.wanted()) if outputs is not None else 0,
            incompatible_subscribers=self._incompatible_subscribers,
            duplicate_publishers=self._duplicate_publishers,
            hands_seen=seen,
            hands=with_depth,
            refusal=statistics.refusal,
            image_problem=self.images.problem if camera is not None else "",
            fallback=fallback,
            values={
                "latency p50 (ms)": f"{p50:.1f}",
                "latency p95 (ms)": f"{p95:.1f}",
                "received": str(statistics.received),
                "published": str(statistics.published),
                "dropped": str(statistics.dropped),
                "refused": str(statistics.refused),
                "without subscriber": str(statistics.unwanted),
                **values,
                **{f"{name} (ms)": f"{value:.1f}" for name, value in statistics.timings.items()},
            },
        )
        if camera is not None:
            self._add_camera(health, camera)
        return health

    def _add_camera(self, health: Health, camera: ColourCamera) -> None:
        """Fill in what is known of an active node's camera."""
        health.image_publishers = camera.image.publishers
        transport, topic = other_transport(self.topics.image)
        if not camera.image.publishers and self._node.count_publishers(topic):
            health.other_transport = transport
        health.camera_info_publishers = camera.camera_info.publishers
        health.image_age_s = camera.image.age_s
        health.camera_info_age_s = camera.camera_info.age_s
        health.assumed_camera = self.assumed_camera
        health.camera_info_latched = camera.camera_info.is_latched
        health.best_effort = camera.image.is_best_effort
        health.problem = camera.image.problem or camera.camera_info.problem
        health.values["image QoS"] = camera.image.qos_text
