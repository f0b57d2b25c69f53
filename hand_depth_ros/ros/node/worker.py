"""The thread that works on frames while the node is configured. No rclpy here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.node.mailbox import Mailbox

T = TypeVar("T")
STOP_TIMEOUT_S = 10.0


class Worker(Generic[T]):
    """Runs `prepare` once, then `work` on the newest item of its one-slot mailbox, again and again.

    Args:
        prepare: The first inference is slow (and the first on a device may fail): it is done here, in the
            thread that goes on to use the device.
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
        """Wait for `prepare`; what it raised is raised here."""
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def put(self, item: T) -> bool:
        """Make `item` the next to be worked on. Returns whether another one is lost by it."""
        return self._mailbox.put(item)

    def empty(self) -> bool:
        """Throw away the item that waits. Returns whether one did."""
        return self._mailbox.empty()

    def close(self) -> None:
        """End the thread after the item that it is at.

        Raises:
            HandDepthError: It is still at it after STOP_TIMEOUT_S.
        """
        self._mailbox.close()
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise HandDepthError(
                f"the frame in work isn't finished after {STOP_TIMEOUT_S:.0f} s: the device hangs; "
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
