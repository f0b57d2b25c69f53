"""Detect topics that stop and resume, so that each is reported once. No rclpy here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from hand_depth_ros.ros.diagnostics.throttle import Throttle


class StalledTopics:
    """Topics that have stopped, and those that resume, from one update to the next.

    A change counts once two updates in a row agree on it: the topics of one camera do not stop at
    the same instant, and are reported together. A topic that keeps stopping is throttled.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._may_report = Throttle(clock=clock)
        self._reported: dict[str, float] = {}  # time of each topic's last message
        self._before: set[str] = set()
        self._changed = clock()

    def update(self, ages: Mapping[str, float]) -> tuple[list[str], dict[str, float]]:
        """Compare with what was reported.

        Args:
            ages: Seconds since the last message, for each topic that has stopped.

        Returns:
            The topics to report as stopped now, and those that have resumed with the seconds that
            they were silent.
        """
        now = self._clock()
        if set(ages) != self._before:
            self._before, self._changed = set(ages), now
            return [], {}
        resumed = {
            topic: self._changed - since for topic, since in self._reported.items() if topic not in ages
        }
        for topic in resumed:
            del self._reported[topic]
        stopped = [topic for topic in ages if topic not in self._reported]
        if stopped and not self._may_report("stopped"):
            stopped = []
        self._reported.update({topic: now - ages[topic] for topic in stopped})
        return stopped, resumed

    def clear(self) -> None:
        """Forget everything: the node no longer listens to the camera."""
        self._reported, self._before = {}, set()
