"""One slot between callback and worker: only the newest frame is kept, the others are counted."""

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
        self.replaced = 0

    def put(self, item: T) -> None:
        """Make `item` the newest; one that nobody took yet is dropped and counted in `replaced`."""
        with self._changed:
            self.replaced += self._item is not None
            self._item = item
            self._changed.notify()

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
