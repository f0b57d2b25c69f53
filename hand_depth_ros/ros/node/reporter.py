"""What the node says about itself: refused frames in the log, each reason once in a while, and a DiagnosticStatus a
second."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from hand_depth_ros.ros.diagnostics.stalled_topics import StalledTopics
from hand_depth_ros.ros.diagnostics.statistics import Rate, Statistics
from hand_depth_ros.ros.diagnostics.status import Health
from hand_depth_ros.ros.diagnostics.throttle import Throttle
from hand_depth_ros.ros.messages.topics import other_transport
from hand_depth_ros.ros.node.inputs import ColourCamera, InputTopics
from hand_depth_ros.ros.node.outputs import Outputs
from hand_depth_ros.ros.qos import overridable

GRACE_S = 5.0
"""So long after it was activated, what hasn't come yet isn't logged; /diagnostics tells it at once."""
_NUMBERS_AND_NAMES = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\d.]+""")
"""What differs between two lines that say the same; the names are quoted as repr does it."""


class Report:
    """Counters, log and diagnostics of a node.

    Args:
        node: Publishes /diagnostics.
        topics: The camera's.
    """

    def __init__(self, node: Node, topics: InputTopics) -> None:
        self._node, self.topics = node, topics
        self.statistics = Statistics()
        self.failure = ""
        self._may_say = Throttle()
        self._quiet_until = 0.0
        self._deaf: tuple[str, ...] = ()
        self._rivals: tuple[str, ...] = ()
        self._stops = StalledTopics()
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", 10, qos_overriding_options=overridable()
        )
        self._rates = {name: Rate() for name in ("image", "camera_info", "output")}

    def activated(self) -> None:
        """From now on images are to come, soon."""
        self._quiet_until = time.monotonic() + GRACE_S

    def refuse(self, kind: str, reason: str) -> None:
        """Count a frame that gives no output, and say why: once in a while, not every time."""
        self.statistics.add_refused(reason)
        self.say(kind, reason, error=kind != "stamp")

    def say(self, kind: str, text: str, error: bool = False) -> None:
        """Log a line unless one like it was just logged."""
        if self._may_say(kind + _NUMBERS_AND_NAMES.sub("#", text)):
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
            state: Of the lifecycle.
            camera: None while inactive.
            outputs: None while unconfigured.
            fallback: Why the CPU is used although a GPU is there, or "".
            values: What else is to be shown.
        """
        self._deaf = self._log_new(outputs.deaf() if outputs is not None else [], self._deaf)
        self._rivals = self._log_new(outputs.rivals() if outputs is not None else [], self._rivals)
        health = self._health(state, camera, outputs, fallback, values)
        status = health.to_status(f"{self._node.get_name()}: depth", self.topics.image)
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
        if time.monotonic() > self._quiet_until:
            self._log_stops(health, listening=camera is not None)
            stop = health.stop_text(health.stopped())
            told = (
                health.refusal,
                health.failure,
                "; ".join(self._deaf),
                "; ".join(self._rivals),
                stop,
            )  # logged when they happened
            if status.level != DiagnosticStatus.OK and status.message not in told:
                self.say("health", status.message)

    def _log_stops(self, health: Health, listening: bool) -> None:
        """A warning when the camera stops and one when it comes again, whatever else changes meanwhile."""
        if not listening:
            self._stops.clear()
            return
        ages = health.stopped()
        if health.refusal:
            ages.pop(health.camera_info_topic, None)  # the refusal says it
        stopped, back = self._stops.update(ages)
        if stopped:
            self._node.get_logger().warning(health.stop_text(stopped))
        if back:
            self._node.get_logger().warning(
                f"{' and '.join(back)} {'comes' if len(back) == 1 else 'come'} again, after {max(back.values()):.0f} s"
            )

    def _log_new(self, sentences: list[str], before: tuple[str, ...]) -> tuple[str, ...]:
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
            incompatible_subscribers=self._deaf,
            duplicate_publishers=self._rivals,
            hands_seen=seen,
            hands=with_depth,
            refusal=statistics.refusal,
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
            health.image_publishers = camera.image.publishers
            transport, topic = other_transport(self.topics.image)
            if not camera.image.publishers and self._node.count_publishers(topic):
                health.other_transport = transport
            health.camera_info_publishers = camera.camera_info.publishers
            health.image_age_s = camera.image.age_s
            health.camera_info_age_s = camera.camera_info.age_s
            health.camera_info_latched = camera.camera_info.is_latched
            health.best_effort = camera.image.is_best_effort
            health.problem = camera.image.trouble or camera.camera_info.trouble
            health.values["image QoS"] = camera.image.qos_text
        return health
