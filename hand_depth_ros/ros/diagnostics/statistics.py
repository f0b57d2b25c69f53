"""Counters, latencies and rates of the node. No rclpy here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

LATENCY_COUNT = 300
"""Latencies that the percentiles cover: ten seconds at 30 fps."""
STALE_S = 2.0
"""Age in seconds at which a camera counts as gone, and the last hands and refusal as outdated."""
RATE_WINDOW_S = 5.0
"""Rates are averages over this many seconds."""
_JITTER_S = 0.1


class Statistics:
    """Counters of the callback and the worker thread.

    Every `received` image ends up as one of: `published` (its depth, that is), `refused` (with a
    reason), `dropped` (overtaken by a newer one, or the node was deactivated) or `unwanted` (nobody
    subscribed). At any time one more may be waiting and one in work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_COUNT)
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
        """Count a published frame.

        Args:
            latency_ms: Time since its image came in.
            seen: Hands in it.
            with_depth: How many of them have a valid depth.
            timings: Duration of each step in ms.
        """
        with self._lock:
            self._latencies_ms.append(latency_ms)
            self.published += 1
            self._hands = (seen, with_depth, time.monotonic())
            self.timings = dict(timings)
            self._refusal = ("", -float("inf"))

    def add_refused(self, reason: str) -> None:
        """Count a frame without output."""
        with self._lock:
            self.refused += 1
            self._hands = (0, 0, -float("inf"))
            self._refusal = (reason, time.monotonic())

    def add_received(self) -> None:
        """Count an image that came in."""
        self.received += 1

    def add_info(self) -> None:
        """Count a camera_info that came in."""
        self.infos_received += 1

    def add_dropped(self) -> None:
        """Count a frame that a newer one overtook."""
        with self._lock:
            self.dropped += 1

    def add_unwanted(self) -> None:
        """Count a frame that had no subscriber."""
        with self._lock:
            self.unwanted += 1

    @property
    def refusal(self) -> str:
        """Why the latest frame was refused; "" if that is long ago or it was not."""
        reason, when = self._refusal
        return reason if time.monotonic() - when < STALE_S else ""

    @property
    def hands(self) -> tuple[int, int]:
        """Hands seen in the latest frame, and how many have a valid depth; 0 if it is outdated."""
        seen, with_depth, when = self._hands
        return (seen, with_depth) if time.monotonic() - when < STALE_S else (0, 0)

    def percentiles(self) -> tuple[float, float]:
        """Return the median and the 95th percentile of the latency in ms, NaN before any frame."""
        with self._lock:
            values = list(self._latencies_ms)
        return tuple(np.percentile(values, (50, 95))) if values else (float("nan"),) * 2


class Rate:
    """Events per second over the last RATE_WINDOW_S, from samples of a counter."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def __call__(self, count: int) -> float:
        """Add a sample of the counter and return the rate in Hz."""
        now = self._clock()
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_WINDOW_S - _JITTER_S:
            self._samples.popleft()
        when, before = self._samples[0]
        return (count - before) / max(now - when, 1e-6)
