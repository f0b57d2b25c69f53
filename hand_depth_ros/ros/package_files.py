"""Find files that are installed beside the package: config/ and launch/."""

from __future__ import annotations

import shutil
from pathlib import Path

from hand_depth_ros.errors import HandDepthError

PACKAGE = Path(__file__).resolve().parents[1]


def package_file(relative: str) -> Path:
    """Return the path of an installed file such as ``config/fastdds_large_images.xml``.

    It lies beside the package in a checkout, and in PREFIX/share/hand_depth_ros after pip or colcon
    installed it.

    Raises:
        HandDepthError: It is in neither place.
    """
    installed = [folder / "share" / PACKAGE.name / relative for folder in PACKAGE.parents]
    for candidate in (PACKAGE.parent / relative, *installed):
        if candidate.is_file():
            return candidate
    raise HandDepthError(f"{relative} was not installed with the package: reinstall hand_depth_ros")


def hand_depth_command() -> str:
    """Return how the command is called here: colcon installs it where only `ros2 run` finds it."""
    return "hand-depth" if shutil.which("hand-depth") else f"ros2 run {PACKAGE.name} hand-depth"
