"""Run the node as a separate process, with a ROS domain of its own that stays on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.dds_profile import PROFILE, PROFILE_VARIABLES
from hand_depth_ros.ros.package_files import package_file

START = "import sys; sys.path[:] = filter(None, sys.path); from hand_depth_ros.cli.main import main; main()"
"""Not -m, which looks for the package in the working directory first: it would take a clone that is
there (-P and PYTHONSAFEPATH, which prevent that, are not in Python 3.10)."""
REAL_NODE = (sys.executable, "-c", START, "node")
LAST_LINES = 12


def own_domain() -> int:
    """Return a ROS domain from 1 to 100 that is this process's in all likelihood."""
    return 1 + os.getpid() % 100


def dds_environment() -> dict[str, str]:
    """Return the variables for every process of the demo.

    Nothing leaves this machine, no other ROS is heard or disturbed, and shared memory is large
    enough for images.
    """
    profile = str(package_file(PROFILE))
    return {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(own_domain()),
        **dict.fromkeys(PROFILE_VARIABLES, profile),
    }


class NodeProcess:
    """A running node; a context manager that stops it as Ctrl-C does. Its output goes to `log`."""

    def __init__(self, log: Path, ros_args: Sequence[str], command: Sequence[str] = REAL_NODE) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--ros-args", *ros_args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **dds_environment(), "PYTHONUNBUFFERED": "1"},
            )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=15.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def check(self) -> None:
        """Raise HandDepthError with the end of the node's log if it has ended."""
        if self._process.poll() is not None:
            raise HandDepthError(
                f"the node ended with exit code {self._process.returncode}: {self.log_tail()}"
            )

    def log_tail(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return f"{' | '.join(lines) or 'it printed nothing'} (whole log: {self.log})"

    def resident_mb(self) -> float:
        """Return its resident memory now in MB; NaN without /proc."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return float("nan")
        resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(resident[0]) / 1024 if resident else float("nan")
