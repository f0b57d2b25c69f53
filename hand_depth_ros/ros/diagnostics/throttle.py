"""Say the same thing at most once in a while. No rclpy here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD_S = 10.0
KINDS_KEPT = 500


class Throttle:
    """Lets a message of one kind through at most once in `period` seconds; different kinds don't wait for
    each other.

    rclpy's own throttle goes by the line of code, which would let one fault hide another.
    """

    def __init__(self, period: float = PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, kind: str) -> bool:
        """Whether a message of this kind may be said now."""
        now = self._clock()
        with self._lock:
            if now - self._last.get(kind, -float("inf")) < self._period:
                return False
            self._last.pop(kind, None)
            self._last[kind] = now
            if len(self._last) > KINDS_KEPT:
                del self._last[next(iter(self._last))]  # the one that was said longest ago
            return True

    def __len__(self) -> int:
        return len(self._last)
