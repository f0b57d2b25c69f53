"""The thread that works on frames while the node is configured. No rclpy here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hand_depth_ros.errors import HandDepthError

T = TypeVar("T")
STOP_TIMEOUT_S = 10.0


class Mailbox(Generic[T]):
    """Hold the newest item only; a put never blocks and never queues."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> bool:
        """Make `item` the newest. Return True if this drops one that nobody took yet."""
        with self._changed:
            dropped = self._item is not None
            self._item = item
            self._changed.notify()
            return dropped

    def empty(self) -> bool:
        """Drop the item that nobody took yet. Return True if there was one."""
        with self._changed:
            dropped, self._item = self._item is not None, None
            return dropped

    def take(self) -> T | None:
        """Wait for the newest item and take it; return None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Make every further `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Worker(Generic[T]):
    """Run `prepare` once, then `work` on the newest item, again and again, in a thread.

    Args:
        prepare: Does the first inference, which is slow and may fail on a device, in the thread
            that goes on to use the device.
        work: Must not raise.
    """

    def __init__(self, prepare: Callable[[], None], work: Callable[[T], None]) -> None:
        self._prepare, self._work = prepare, work
        self._mailbox: Mailbox[T] = Mailbox()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="hand_depth worker", daemon=True)
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Wait for `prepare`, and raise what it raised."""
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def put(self, item: T) -> bool:
        """Work on `item` next. Return True if this drops one that was waiting."""
        return self._mailbox.put(item)

    def empty(self) -> bool:
        """Drop the item that is waiting. Return True if there was one."""
        return self._mailbox.empty()

    def close(self) -> None:
        """End the thread after the item it is working on.

        Raises:
            HandDepthError: The item is not finished after STOP_TIMEOUT_S.
        """
        self._mailbox.close()
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise HandDepthError(
                f"the current frame is not finished after {STOP_TIMEOUT_S:.0f} s: the device hangs; "
                "restart the process"
            )

    def _run(self) -> None:
        try:
            self._prepare()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        while (item := self._mailbox.take()) is not None:
            self._work(item)
