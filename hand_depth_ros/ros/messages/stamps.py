"""Stamps of a stream of images, in nanoseconds: do they go on in order? No rclpy here; node and bag tool both ask."""

from __future__ import annotations

from typing import Any

GAP_S = 2.0
"""After a gap of so long, hands are somewhere else: what was followed doesn't count any more."""


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


class Stamps:
    """Watches the stamps of one stream."""

    def __init__(self) -> None:
        self._last: int | None = None

    def jump(self, stamp: int) -> float | None:
        """Seconds from the last stamp to this one if that is a jump, back (below 0) or ahead by more than GAP_S; None
        if the stream goes on, or begins."""
        last, self._last = self._last, stamp
        if last is None:
            return None
        step = 1e-9 * (stamp - last)
        return step if step < 0.0 or step > GAP_S else None
