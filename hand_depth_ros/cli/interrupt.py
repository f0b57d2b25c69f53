"""Handle Ctrl-C in the `hand-depth` command: one line, exit code 130, no traceback.

Imports only modules that load instantly; slow ones are imported under `exit_on_sigint`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 128 + signal.SIGINT
MESSAGE = "hand-depth: interrupted"


@contextmanager
def exit_on_sigint() -> Iterator[None]:
    """End the process at once on Ctrl-C inside the block, for imports and the loading of networks.

    As an exception, Ctrl-C could be swallowed by an import or turned into another error. The block
    must do nothing that needs cleaning up. A handler installed by somebody else, or SIG_IGN, stays
    in place.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, _exit)
    except ValueError:  # not the main thread, where Python never raises KeyboardInterrupt
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(number: int, frame: Any) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{MESSAGE}\n".encode())
    os._exit(EXIT_CODE)
