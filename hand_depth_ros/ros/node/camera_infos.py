"""The camera_infos of a live camera. No rclpy here; safe to use from several threads.

An image and its camera_info come in either order. While they come in pairs (the last camera_info
heard had an image's stamp, however late it came), a missing partner is waited for a moment, until
it or a later one comes: intrinsics that change with this very image are then not missed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from hand_depth_ros.ros.messages.camera_info_history import CameraInfoHistory
from hand_depth_ros.ros.messages.stamps import stamp_ns

KEPT = 60
"""Camera_infos remembered: two seconds at 30 fps."""


class CameraInfos:
    """The camera_infos heard lately."""

    def __init__(self) -> None:
        self._history = CameraInfoHistory(KEPT)
        self._in_pairs = False
        self._unpaired: deque[int] = deque(maxlen=KEPT)  # stamps of images that went without theirs
        self._changed = threading.Condition()

    def add(self, info: Any) -> None:
        """Remember a message that has just come."""
        with self._changed:
            self._history.add(info, time.monotonic_ns())
            self._in_pairs = self._in_pairs or stamp_ns(info.header) in self._unpaired
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget the stamps (time jumped); the latest message still counts."""
        with self._changed:
            self._history.clear()
            self._unpaired.clear()

    @property
    def latest(self) -> Any | None:
        """The message heard last, or None."""
        return self._history.latest

    def match(self, stamp: int, timeout: float = 0.0) -> Any | None:
        """Return the camera_info for an image: that of its stamp, else the latest, else None.

        Args:
            stamp: The image's stamp in ns.
            timeout: Seconds to wait for the first message; and for one of this stamp, if they come
                in pairs.
        """
        with self._changed:
            if timeout > 0.0 and (self._in_pairs or self._history.latest is None):
                self._changed.wait_for(lambda: self._need_not_wait(stamp), timeout)
            self._in_pairs = stamp in self._history
            if not self._in_pairs:
                self._unpaired.append(stamp)
            return self._history.select(stamp, time.monotonic_ns())

    def _need_not_wait(self, stamp: int) -> bool:
        """Return whether the partner or a later one is here, or any one will do."""
        newest = self._history.newest_stamp_ns
        if newest is not None and newest >= stamp:
            return True
        return not self._in_pairs and self._history.latest is not None
