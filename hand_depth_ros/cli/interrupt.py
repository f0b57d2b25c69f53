"""Ctrl-C in the `hand-depth` command: one line, exit code 130, no traceback.

Imports only what Python has loaded or loads at once: whatever is slow is imported under `exit_on_sigint`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 128 + signal.SIGINT
TOLD = "hand-depth: interrupted"


@contextmanager
def exit_on_sigint() -> Iterator[None]:
    """While modules are imported or networks read, Ctrl-C ends the process at once.

    As an exception it could be dropped within an import, or come out of one as another error. Nothing that must be
    put in order again may happen in the block. Where somebody else handles the signal (or it is ignored), it stays so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, _leave)
    except ValueError:  # not the main thread: Python doesn't raise it here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: Any) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{TOLD}\n".encode())
    os._exit(EXIT_CODE)
