"""The node's state as a DiagnosticStatus: what it does and, if nothing comes out, why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from hand_depth_ros.errors import counted
from hand_depth_ros.ros.dds_profile import profile_settings
from hand_depth_ros.ros.diagnostics.statistics import STALE_S

NEVER = float("inf")
"""Age of a message that never came."""
_LOST_FRACTION = 0.2
"""Fraction of the images that must be lost before it is reported."""


@dataclass
class Health:
    """State of the node at one moment.

    Attributes:
        image_topic: Full name of the image topic.
        camera_info_topic: Full name of its camera_info.
        node: Full name of the node.
        state: Lifecycle state.
        failure: Why the last transition failed, or "".
        image_publishers: Publishers of the image topic.
        other_transport: Value of image_transport under which the image is published, if not ours.
        camera_info_publishers: Publishers of the camera_info topic.
        image_rate: Images per second.
        camera_info_rate: Camera_infos per second.
        output_rate: Published frames per second.
        image_age_s: Seconds since the last image; NEVER.
        camera_info_age_s: Seconds since the last camera_info; NEVER.
        camera_info_latched: Whether camera_info is transient local.
        best_effort: Whether the image subscription is best effort.
        subscribers: Outputs with a subscriber.
        incompatible_subscribers: A sentence for each subscriber whose QoS does not match.
        duplicate_publishers: A sentence for each other publisher of our topics.
        hands_seen: Hands in the latest frame.
        hands: How many of them have a valid depth.
        problem: Why the inputs cannot be received, or "".
        refusal: Why the latest frame was refused, or "".
        image_problem: What makes depth impossible in the latest valid image, or "".
        fallback: Why the CPU is used although there is a GPU, or "".
        values: More values to show.
    """

    image_topic: str
    camera_info_topic: str
    node: str = "/hand_depth"
    state: str = "active"
    failure: str = ""
    image_publishers: int = 0
    other_transport: str = ""
    camera_info_publishers: int = 0
    image_rate: float = 0.0
    camera_info_rate: float = 0.0
    output_rate: float = 0.0
    image_age_s: float = NEVER
    camera_info_age_s: float = NEVER
    camera_info_latched: bool = False
    assumed_camera: str = ""
    best_effort: bool = False
    subscribers: int = 0
    incompatible_subscribers: tuple[str, ...] = ()
    duplicate_publishers: tuple[str, ...] = ()
    hands_seen: int = 0
    hands: int = 0
    problem: str = ""
    refusal: str = ""
    image_problem: str = ""
    fallback: str = ""
    values: dict[str, str] = field(default_factory=dict)

    def verdict(self) -> tuple[bytes, str]:
        """Return the level and one sentence: what is wrong and what to do, or that it runs."""
        if self.failure:
            return DiagnosticStatus.ERROR, self.failure
        if self.state != "active":
            return DiagnosticStatus.OK, f"{self.state}: nothing is computed{self._next_transition()}"
        if self.problem:
            return DiagnosticStatus.ERROR, self.problem
        if self.image_age_s > STALE_S:
            return DiagnosticStatus.WARN, self._no_images()
        if self.camera_info_age_s == NEVER and not self.assumed_camera:
            cure = "remap camera_info, or describe the camera with camera_info_url or hfov_deg"
            nobody = "" if self.camera_info_publishers else f", which nobody publishes: {cure}"
            return DiagnosticStatus.WARN, f"waiting for camera_info on {self.camera_info_topic}{nobody}"
        if self.refusal:
            return DiagnosticStatus.ERROR, self.refusal
        warning = self._warning()
        if warning:
            return DiagnosticStatus.WARN, warning
        if not self.subscribers:
            return DiagnosticStatus.OK, "no subscriber: nothing is computed until an output has one"
        return DiagnosticStatus.OK, "running"

    def _warning(self) -> str:
        """Return what is wrong although usable frames come in, or ""."""
        if self.camera_info_topic in self.stopped():
            return self.stop_text([self.camera_info_topic])
        if self.fallback:
            return f"on the CPU, slower, because the GPU failed: {self.fallback}"
        if self.best_effort and self.image_rate < (1.0 - _LOST_FRACTION) * self.camera_info_rate:
            lost = self.camera_info_rate - self.image_rate
            return (
                f"publisher of {self.image_topic} is best effort and {lost:.0f} images per second are lost: "
                f"{_cure_of_lost_images()}"
            )
        if self.duplicate_publishers:
            return "; ".join(self.duplicate_publishers)
        if self.incompatible_subscribers:
            return "; ".join(self.incompatible_subscribers)
        if self.image_problem:
            return f"{self.image_topic}: {self.image_problem}"
        if self.subscribers and self.hands_seen and not self.hands:
            return (
                f"{counted(self.hands_seen, 'hand')} seen, none with valid depth: closer than min_range_m, "
                "beyond max_range_m, or sigma above max_sigma_m"
            )
        return ""

    def _next_transition(self) -> str:
        following = {"unconfigured": "configure", "inactive": "activate"}.get(self.state)
        return f"; to continue: ros2 lifecycle set {self.node} {following}" if following else ""

    def stopped(self) -> dict[str, float]:
        """Return the camera's topics that came and have stopped, with the seconds since."""
        ages = {self.image_topic: self.image_age_s}
        if not (self.camera_info_latched and self.camera_info_publishers):  # else it comes once
            ages[self.camera_info_topic] = self.camera_info_age_s
        return {topic: age for topic, age in ages.items() if STALE_S < age < NEVER}

    def stop_text(self, stopped: Collection[str]) -> str:
        """Return which topics have stopped, since when, and what to do."""
        names = {self.image_topic: "image", self.camera_info_topic: "camera_info"}
        what = " and ".join(f"no {names[topic]} on {topic}" for topic in names if topic in stopped)
        if self.image_topic not in stopped:
            gone = "" if self.camera_info_publishers else ", nobody publishes it any more"
            return (
                f"{what} for {self.camera_info_age_s:.0f} s{gone}: the last one stays in use, which is wrong "
                "if the camera's resolution or focal length changes"
            )
        since = f"{what} for {self.image_age_s:.0f} s"
        if self.image_publishers:
            return f"{since}: check the camera{self._best_effort_hint()}"
        if self.other_transport:
            return f"{since}: set image_transport to {self.other_transport}, as it is published now"
        return f"{since}, nobody publishes it any more: restart the camera"

    def _no_images(self) -> str:
        stopped = self.stopped()
        if self.image_topic in stopped:
            return self.stop_text(stopped)
        waiting = f"waiting for images on {self.image_topic}"
        if self.image_publishers:
            return f"{waiting}: it has a publisher, but none has arrived yet{self._best_effort_hint()}"
        if self.other_transport:
            return f"{waiting}: set image_transport to {self.other_transport}, as it is published"
        return f"{waiting}, which nobody publishes: start the camera or remap image"

    def _best_effort_hint(self) -> str:
        return (
            f"; images too large for best effort are lost: {_cure_of_lost_images()}"
            if self.best_effort
            else ""
        )

    def to_status(self, name: str, hardware_id: str) -> DiagnosticStatus:
        """Return the message."""
        level, message = self.verdict()
        values = {
            "state": self.state,
            "rate in (Hz)": f"{self.image_rate:.1f}",
            "rate out (Hz)": f"{self.output_rate:.1f}",
            "camera_info rate (Hz)": f"{self.camera_info_rate:.1f}",
            "camera_info age (s)": f"{self.camera_info_age_s:.1f}",
            "image age (s)": f"{self.image_age_s:.1f}",
            "image topic": self.image_topic,
            "camera_info topic": self.camera_info_topic,
            "subscribers": str(self.subscribers),
            "incompatible subscribers": "; ".join(self.incompatible_subscribers),
            "hands": str(self.hands),
            "hands without valid depth": str(self.hands_seen - self.hands),
            **({"assumed camera": self.assumed_camera} if self.assumed_camera else {}),
            **self.values,
        }
        return DiagnosticStatus(
            level=level,
            name=name,
            message=message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


def _cure_of_lost_images() -> str:
    return f"publish it reliable, or restart its publisher with {profile_settings()}"
