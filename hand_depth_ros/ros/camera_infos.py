"""Which camera_info belongs to an image. No rclpy here; safe to use from several threads.

A camera publishes an image and its camera_info with the same stamp, in either order. So the one with the
image's stamp counts; where there is none (a camera_info that is latched, or slower than the images) the
latest does. While the two have been coming in pairs, a missing partner is waited for a moment, so that
intrinsics that change with this very image are not missed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from hand_depth_ros.ros.stamps import stamp_ns

KEPT = 60
"""Camera_infos remembered: two seconds at 30 fps."""


class CameraInfos:
    """The camera_infos heard lately."""

    def __init__(self) -> None:
        self._by_stamp: OrderedDict[int, Any] = OrderedDict()
        self._latest: Any = None
        self._in_pairs = False
        self._changed = threading.Condition()

    def add(self, info: Any) -> None:
        """Remember a message that has just come."""
        with self._changed:
            self._latest = info
            stamp = stamp_ns(info.header)
            self._by_stamp[stamp] = info
            self._by_stamp.move_to_end(stamp)
            while len(self._by_stamp) > KEPT:
                self._by_stamp.popitem(last=False)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget the stamps (time jumped); the latest still counts."""
        with self._changed:
            self._by_stamp.clear()

    @property
    def latest(self) -> Any | None:
        return self._latest

    def match(self, stamp: int, timeout: float = 0.0) -> Any | None:
        """The camera_info for an image.

        Args:
            stamp: The image's stamp in ns.
            timeout: Seconds to wait for the first message; and for one of this stamp, if they come in pairs.

        Returns:
            The message of that stamp, else the latest, else None.
        """
        with self._changed:
            if timeout > 0.0 and (self._in_pairs or self._latest is None):
                self._changed.wait_for(
                    lambda: stamp in self._by_stamp or not (self._in_pairs or self._latest is None), timeout
                )
            self._in_pairs = stamp in self._by_stamp
            return self._by_stamp.get(stamp, self._latest)
