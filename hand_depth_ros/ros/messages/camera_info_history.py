"""Select the camera_info that belongs to an image. No rclpy here; node and bag tool both use it.

A camera publishes an image and its camera_info with the same stamp, so that one is selected. Stamps
can repeat (a driver that leaves them 0, a simulator started twice in one recording): of several
with the image's stamp, the nearest in receive time is selected. Where none has it (a camera_info
that is latched, or slower than the images) the latest one received before the image is.
"""

from __future__ import annotations

import bisect
from typing import Any

from hand_depth_ros.ros.messages.stamps import stamp_ns


class CameraInfoHistory:
    """Camera_infos in the order in which they were received.

    Args:
        max_length: Forget all but so many of the latest; None keeps all.
    """

    def __init__(self, max_length: int | None = None) -> None:
        self._max_length = max_length
        self._received: list[tuple[int, Any]] = []
        self._by_stamp: dict[int, list[tuple[int, Any]]] = {}

    def add(self, info: Any, received_ns: int) -> None:
        """Append a message; its receive time must not be before that of the last one."""
        entry = (received_ns, info)
        self._received.append(entry)
        self._by_stamp.setdefault(stamp_ns(info.header), []).append(entry)
        if self._max_length is not None and len(self._received) > self._max_length:
            self._forget_oldest()

    def clear(self) -> None:
        """Forget the stamps (time jumped); the latest message is still selected where none fits."""
        del self._received[:-1]
        self._by_stamp.clear()

    @property
    def latest(self) -> Any | None:
        """The message received last, or None."""
        return self._received[-1][1] if self._received else None

    @property
    def newest_stamp_ns(self) -> int | None:
        """The highest stamp, or None."""
        return max(self._by_stamp, default=None)

    def __contains__(self, stamp: int) -> bool:
        """Return whether a message with this stamp (ns) was received."""
        return stamp in self._by_stamp

    def __len__(self) -> int:
        return len(self._received)

    def select(self, stamp: int, received_ns: int) -> Any:
        """Return the camera_info for an image, or None if none was received.

        Args:
            stamp: The image's stamp in ns.
            received_ns: When the image was received, on the clock of `add`.
        """
        same_stamp = self._by_stamp.get(stamp)
        if same_stamp:
            return _nearest(same_stamp, received_ns)
        before = bisect.bisect_right(self._received, received_ns, key=_time)
        return self._received[max(0, before - 1)][1] if self._received else None

    def _forget_oldest(self) -> None:
        oldest = self._received.pop(0)
        stamp = stamp_ns(oldest[1].header)
        same_stamp = self._by_stamp.get(stamp, [])
        if same_stamp and same_stamp[0] is oldest:  # not so if it was there before clear()
            same_stamp.pop(0)
            if not same_stamp:
                del self._by_stamp[stamp]


def _time(entry: tuple[int, Any]) -> int:
    return entry[0]


def _nearest(entries: list[tuple[int, Any]], received_ns: int) -> Any:
    """Return the message nearest in receive time; of two equally near ones the later."""
    after = bisect.bisect_left(entries, received_ns, key=_time)
    candidates = entries[max(0, after - 1) : after + 1]
    return min(reversed(candidates), key=lambda entry: abs(entry[0] - received_ns))[1]
