"""Limit how often the same message is logged. No rclpy here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD_S = 10.0
MAX_KINDS = 500


class Throttle:
    """Lets each kind of message through at most once in `period` seconds.

    rclpy's own throttle works per line of code, which would let one fault hide another.
    """

    def __init__(self, period: float = PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, kind: str) -> bool:
        """Return whether a message of this kind may be logged now."""
        now = self._clock()
        with self._lock:
            if now - self._last.get(kind, -float("inf")) < self._period:
                return False
            self._last.pop(kind, None)
            self._last[kind] = now
            if len(self._last) > MAX_KINDS:
                del self._last[next(iter(self._last))]  # the one logged longest ago
            return True

    def __len__(self) -> int:
        return len(self._last)
