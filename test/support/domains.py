"""ROS domains that no two tests share, nor two runs on one machine.

Each domain has a lock file in the machine's temporary folder. It stays locked while somebody holds
the `Domain` or a process that inherited the lock runs. The system unlocks it however they end.
"""

from __future__ import annotations

import fcntl
import random
import tempfile
import time
from io import FileIO
from pathlib import Path

FIRST, LAST = 1, 100
"""Domain ids. Those above 101 use ports that Linux gives to outgoing connections."""
PATIENCE_S = 120.0


class Domain(int):
    """A domain id, ours alone until the last reference to it is gone."""

    lock: FileIO

    @classmethod
    def take(cls, folder: Path | None = None, patience_s: float = PATIENCE_S) -> Domain:
        """Lock a free domain.

        Args:
            folder: Holds the lock files. Default: the temporary folder of the machine.
            patience_s: Seconds to wait for one while all are taken.

        Raises:
            TimeoutError: All stayed taken.
        """
        folder = folder or Path(tempfile.gettempdir())
        end = time.monotonic() + patience_s
        while True:
            for number in random.SystemRandom().sample(range(FIRST, LAST + 1), LAST + 1 - FIRST):
                lock = _lock(folder / f"hand_depth_ros_domain_{number}.lock")
                if lock is not None:
                    domain = cls(number)
                    domain.lock = lock
                    return domain
            if time.monotonic() > end:
                raise TimeoutError(f"all ROS domains from {FIRST} to {LAST} are locked in {folder}")
            time.sleep(0.2)


def _lock(path: Path) -> FileIO | None:
    """Open and lock a file; None if somebody else has it."""
    if not path.exists():
        path.touch()
    try:
        file = FileIO(path)  # for reading, which other users may, too
    except PermissionError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
