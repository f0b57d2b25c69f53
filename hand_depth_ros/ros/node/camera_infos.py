"""Which camera_info belongs to an image. No rclpy here; safe to use from several threads.

A camera publishes an image and its camera_info with the same stamp, in either order. So the one with the
image's stamp counts; where there is none (a camera_info that is latched, or slower than the images) the
latest does. While the two come in pairs (the last one heard had an image's stamp, however late it came), a missing
partner is waited for a moment, until it or a later one comes, so that intrinsics that change with this very image are
not missed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Any

from hand_depth_ros.ros.messages.stamps import stamp_ns

KEPT = 60
"""Camera_infos remembered: two seconds at 30 fps."""


class CameraInfos:
    """The camera_infos heard lately."""

    def __init__(self) -> None:
        self._by_stamp: OrderedDict[int, Any] = OrderedDict()
        self._latest: Any = None
        self._in_pairs = False
        self._alone: deque[int] = deque(maxlen=KEPT)  # stamps of images that went without theirs
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
            self._in_pairs = self._in_pairs or stamp in self._alone
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget the stamps (time jumped); the latest still counts."""
        with self._changed:
            self._by_stamp.clear()
            self._alone.clear()

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
                self._changed.wait_for(lambda: self._has_come(stamp), timeout)
            self._in_pairs = stamp in self._by_stamp
            if not self._in_pairs:
                self._alone.append(stamp)
            return self._by_stamp.get(stamp, self._latest)

    def _has_come(self, stamp: int) -> bool:
        """Whether waiting on is of no use: it is here, or a later one, or there is one and it need not be this one."""
        return bool(self._by_stamp and max(self._by_stamp) >= stamp) or not (
            self._in_pairs or self._latest is None
        )
