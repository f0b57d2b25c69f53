"""When the camera's topics stop and come again: each told once. No rclpy here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from hand_depth_ros.ros.diagnostics.throttle import Throttle


class Stops:
    """Which of some topics have stopped, and which come again, between one look and the next.

    What two looks in a row agree on counts: the topics of one camera don't stop in the same instant, and are told
    together. A topic that stops and comes again all the time is told as often as a throttle lets it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._may_tell = Throttle(clock=clock)
        self._told: dict[str, float] = {}  # when their last message came
        self._before: set[str] = set()
        self._changed = clock()

    def look(self, ages: Mapping[str, float]) -> tuple[list[str], dict[str, float]]:
        """Compare with what was told.

        Args:
            ages: Of each topic that has stopped, seconds since its last message.

        Returns:
            The topics that have stopped, to be told now; and those that come again, with the seconds that they were
            away.
        """
        now = self._clock()
        if set(ages) != self._before:
            self._before, self._changed = set(ages), now
            return [], {}
        back = {topic: self._changed - since for topic, since in self._told.items() if topic not in ages}
        for topic in back:
            del self._told[topic]
        stopped = [topic for topic in ages if topic not in self._told]
        if stopped and not self._may_tell("stopped"):
            stopped = []
        self._told.update({topic: now - ages[topic] for topic in stopped})
        return stopped, back

    def forget(self) -> None:
        """The camera is not listened to any more."""
        self._told, self._before = {}, set()
