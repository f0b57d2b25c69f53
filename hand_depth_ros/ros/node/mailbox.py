"""One slot between callback and worker: only the newest frame is kept."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hold the newest item; a put never blocks and never queues."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> bool:
        """Make `item` the newest. Returns whether one that nobody took yet is lost by it."""
        with self._changed:
            lost = self._item is not None
            self._item = item
            self._changed.notify()
            return lost

    def empty(self) -> bool:
        """Throw away what nobody took yet. Returns whether there was anything."""
        with self._changed:
            lost, self._item = self._item is not None, None
            return lost

    def take(self) -> T | None:
        """Wait for the newest item and take it; None once the box is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
