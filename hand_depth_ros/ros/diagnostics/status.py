"""What the node does and, if nothing comes out, why: one DiagnosticStatus a second on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

WINDOW = 300
"""Latencies that the percentiles are taken over: ten seconds at 30 fps."""
SILENCE_S = 2.0
"""A camera that says nothing for so long counts as gone; hands that were seen longer ago are no more."""
RATE_WINDOW_S = 5.0
"""Rates are averages over so long."""
_SHARED_MEMORY = (
    "publish it reliable, or start all nodes with FASTRTPS_DEFAULT_PROFILES_FILE set to "
    "config/fastdds_large_images.xml"
)


class Statistics:
    """Counters of the callback and the worker thread.

    Every image that was `received` was `published` (its depth, that is), `refused` (with a reason), `dropped` (a newer
    one came before its turn, or the node was deactivated) or `unwanted` (nobody subscribed); one may still wait and
    one be in work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=WINDOW)
        self.received = 0
        self.infos_received = 0
        self.published = 0
        self.refused = 0
        self.dropped = 0
        self.unwanted = 0
        self._hands = (0, 0, -float("inf"))  # seen, of these with valid depth, when
        self.timings: dict[str, float] = {}
        self._refusal = ("", -float("inf"))

    def add_published(self, latency_ms: float, seen: int, with_depth: int, timings: dict[str, float]) -> None:
        """One frame went out, `latency_ms` after its image came in; `with_depth` of the hands `seen` in it have
        a valid depth."""
        with self._lock:
            self._latencies_ms.append(latency_ms)
            self.published += 1
            self._hands = (seen, with_depth, time.monotonic())
            self.timings = dict(timings)
            self._refusal = ("", -float("inf"))

    def add_refused(self, reason: str) -> None:
        """One frame gave no output."""
        with self._lock:
            self.refused += 1
            self._hands = (0, 0, -float("inf"))
            self._refusal = (reason, time.monotonic())

    def add_received(self) -> None:
        """An image has come in."""
        self.received += 1

    def add_info(self) -> None:
        """A camera_info has come in."""
        self.infos_received += 1

    def add_dropped(self) -> None:
        """One frame was overtaken."""
        with self._lock:
            self.dropped += 1

    def add_unwanted(self) -> None:
        """One frame had no subscriber."""
        with self._lock:
            self.unwanted += 1

    @property
    def refusal(self) -> str:
        """Why the latest frame was refused, if that was just now."""
        reason, when = self._refusal
        return reason if time.monotonic() - when < SILENCE_S else ""

    @property
    def hands(self) -> tuple[int, int]:
        """Hands seen in the latest frame, and how many of them have a valid depth; 0 if it gave no output or is
        long past."""
        seen, with_depth, when = self._hands
        return (seen, with_depth) if time.monotonic() - when < SILENCE_S else (0, 0)

    def percentiles(self) -> tuple[float, float]:
        """Latency p50 and p95 in ms, NaN before the first frame."""
        with self._lock:
            values = list(self._latencies_ms)
        return tuple(np.percentile(values, (50, 95))) if values else (float("nan"),) * 2


@dataclass
class Health:
    """The state of the node at one moment, as plain values."""

    image_topic: str
    camera_info_topic: str
    node: str = "/hand_depth"
    state: str = "active"  # of the lifecycle
    failure: str = ""  # of its last transition
    image_publishers: int = 0
    other_transport: str = ""  # the image_transport that somebody publishes the image by, if it is not ours
    camera_info_publishers: int = 0
    image_rate: float = 0.0
    camera_info_rate: float = 0.0
    output_rate: float = 0.0
    image_age_s: float = float("inf")  # inf: never came
    camera_info_age_s: float = float("inf")
    camera_info_latched: bool = False
    best_effort: bool = False
    subscribers: int = 0
    deaf_subscribers: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    hands_seen: int = 0
    hands: int = 0  # those with valid depth
    trouble: str = ""
    refusal: str = ""
    fallback: str = ""
    values: dict[str, str] = field(default_factory=dict)

    def verdict(self) -> tuple[bytes, str]:
        """Level and, in one sentence, what is wrong and what to do (or that all is well)."""
        if self.failure:
            return DiagnosticStatus.ERROR, self.failure
        if self.state != "active":
            return DiagnosticStatus.OK, f"{self.state}: nothing is computed{self._next_transition()}"
        if self.trouble:
            return DiagnosticStatus.ERROR, self.trouble
        if self.image_age_s > SILENCE_S:
            return DiagnosticStatus.WARN, self._silent_camera()
        if self.camera_info_age_s == float("inf"):
            nobody = "" if self.camera_info_publishers else ", which nobody publishes: remap camera_info"
            return DiagnosticStatus.WARN, f"waiting for camera_info on {self.camera_info_topic}{nobody}"
        if self.refusal:
            return DiagnosticStatus.ERROR, self.refusal
        return self._working()

    def _working(self) -> tuple[bytes, str]:
        """Level and sentence while frames come in and are fit to be worked on."""
        if self.camera_info_topic in self.stopped():
            return DiagnosticStatus.WARN, self.stop_text([self.camera_info_topic])
        if self.fallback:
            return DiagnosticStatus.WARN, f"on the CPU, slower, because the GPU has failed: {self.fallback}"
        if self.best_effort and self.image_rate < 0.8 * self.camera_info_rate:
            return DiagnosticStatus.WARN, (
                f"publisher of {self.image_topic} is best effort and "
                f"{self.camera_info_rate - self.image_rate:.0f} images a second are lost: {_SHARED_MEMORY}"
            )
        if self.rivals:
            return DiagnosticStatus.WARN, "; ".join(self.rivals)
        if self.deaf_subscribers:
            return DiagnosticStatus.WARN, "; ".join(self.deaf_subscribers)
        if not self.subscribers:
            return (
                DiagnosticStatus.OK,
                "no subscriber: nothing is computed until somebody subscribes to an output",
            )
        if self.hands_seen and not self.hands:
            seen = "1 hand" if self.hands_seen == 1 else f"{self.hands_seen} hands"
            return DiagnosticStatus.WARN, (
                f"{seen} seen, none with valid depth: nearer than min_range_m, beyond max_range_m or less sure "
                "than max_sigma_m"
            )
        return DiagnosticStatus.OK, "running"

    def _next_transition(self) -> str:
        following = {"unconfigured": "configure", "inactive": "activate"}.get(self.state)
        return f"; to go on: ros2 lifecycle set {self.node} {following}" if following else ""

    def stopped(self) -> dict[str, float]:
        """The camera's topics that came and don't any more, with the seconds since."""
        ages = {self.image_topic: self.image_age_s}
        if not (self.camera_info_latched and self.camera_info_publishers):  # else it comes once
            ages[self.camera_info_topic] = self.camera_info_age_s
        return {topic: age for topic, age in ages.items() if SILENCE_S < age < float("inf")}

    def stop_text(self, stopped: Collection[str]) -> str:
        """That some topics have stopped, since when, and what to do."""
        names = {self.image_topic: "image", self.camera_info_topic: "camera_info"}
        what = " and ".join(f"no {names[topic]} on {topic}" for topic in names if topic in stopped)
        if self.image_topic not in stopped:
            gone = "" if self.camera_info_publishers else ", nobody publishes it any more"
            return (
                f"{what} for {self.camera_info_age_s:.0f} s{gone}: the last one goes on counting, which is wrong if "
                "the camera's resolution or focal length changes"
            )
        since = f"{what} for {self.image_age_s:.0f} s"
        if self.image_publishers:
            return f"{since}: check the camera{self._best_effort_hint()}"
        if self.other_transport:
            return f"{since}: set image_transport to {self.other_transport}, it is published so now"
        return f"{since}, nobody publishes it any more: start the camera again"

    def _silent_camera(self) -> str:
        stopped = self.stopped()
        if self.image_topic in stopped:
            return self.stop_text(stopped)
        if self.image_publishers:
            return (
                f"waiting for images on {self.image_topic}: it has a publisher, but none came yet"
                f"{self._best_effort_hint()}"
            )
        if self.other_transport:
            return (
                f"waiting for images on {self.image_topic}: set image_transport to {self.other_transport}, "
                "it is published so"
            )
        return f"waiting for images on {self.image_topic}, which nobody publishes: start it or remap image"

    def _best_effort_hint(self) -> str:
        return f"; images too large for best effort are lost: {_SHARED_MEMORY}" if self.best_effort else ""

    def to_status(self, name: str, hardware_id: str) -> DiagnosticStatus:
        """The message for it."""
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
            "subscribers that hear nothing": "; ".join(self.deaf_subscribers),
            "hands": str(self.hands),
            "hands without valid depth": str(self.hands_seen - self.hands),
            **self.values,
        }
        return DiagnosticStatus(
            level=level,
            name=name,
            message=message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


class Rate:
    """Events a second over the last RATE_WINDOW_S, from looks at a counter."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def __call__(self, count: int) -> float:
        now = self._clock()
        self._looks.append((now, count))
        while len(self._looks) > 2 and now - self._looks[1][0] >= RATE_WINDOW_S - 0.1:  # looks jitter
            self._looks.popleft()
        when, before = self._looks[0]
        return (count - before) / max(now - when, 1e-6)


__all__ = ["DiagnosticArray", "Health", "Rate", "Statistics"]
