"""Header stamps in nanoseconds, and the detection of jumps in a stream of them. No rclpy here."""

from __future__ import annotations

from typing import Any

MAX_GAP_S = 2.0
"""Longest gap between two images, in seconds, after which tracked hands still count."""


def stamp_ns(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


class Stamps:
    """Stamps of one stream; detects jumps."""

    def __init__(self) -> None:
        self._last: int | None = None

    def jump(self, stamp: int) -> float | None:
        """Return the seconds from the last stamp to this one if that is a jump, else None.

        A jump goes back (negative) or ahead by more than MAX_GAP_S. The first stamp is no jump.
        """
        last, self._last = self._last, stamp
        if last is None:
            return None
        step = 1e-9 * (stamp - last)
        return step if step < 0.0 or step > MAX_GAP_S else None
