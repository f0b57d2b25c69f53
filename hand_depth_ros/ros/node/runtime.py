"""Make ROS usable in this process, or raise one line that says why it is not. Imports nothing slow.

Node, colour relay, doctor and demo all start here, before they import anything of ROS.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from hand_depth_ros.errors import HandDepthError, MissingDependencyError
from hand_depth_ros.ros.dds_profile import PROFILE, PROFILE_VARIABLES
from hand_depth_ros.ros.package_files import package_file

_OWN_TRANSPORT_VARIABLES = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")
_OWN_PROFILE_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")
"""Read by Fast DDS from the working directory."""
MAX_DOMAIN_ID = 232
"""Higher ones have no UDP ports."""
_MODULES = (
    "rclpy",
    "rclpy.impl.implementation_singleton",  # loads the compiled half
    "rcl_interfaces.msg",
    "sensor_msgs.msg",
    "diagnostic_msgs.msg",
    "std_srvs.srv",
    "lifecycle_msgs.msg",
)


def prepare_ros() -> None:
    """Check and complete the environment, then import rclpy and the message packages.

    Raises:
        MissingDependencyError: ROS is not installed, or does not load in this Python.
        HandDepthError: An environment variable keeps ROS from starting.
    """
    _check_domain_id()
    _check_log_folder()
    os.environ.update(image_transport_environment())
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingDependencyError(_import_problem(name.partition(".")[0], error)) from error


def init_ros(**arguments: Any) -> None:
    """Call rclpy.init (with these arguments) after `prepare_ros`.

    Raises:
        HandDepthError: ROS cannot start.
    """
    prepare_ros()
    import rclpy

    try:
        rclpy.init(**arguments)
    except RuntimeError as error:
        if "RCLError" not in type(error).__name__:  # rclpy has no public name for it
            raise
        raise HandDepthError(
            f"ROS cannot start: {one_line(error)}: check the variables that begin with ROS_ and RMW_ "
            "(env | grep -E '^(ROS|RMW)_')"
        ) from error


def one_line(error: Exception) -> str:
    """Return rcl's message without the places in its sources."""
    return " ".join(re.sub(r",? at \S+:\d+", "", str(error)).split())


def image_transport_environment() -> dict[str, str]:
    """Return the variables that give Fast DDS room for images, for this process or a child.

    The shared memory of a Fast DDS publisher is 512 KB by default, less than one 640x480 rgb8
    image; best-effort subscribers then lose most images, whatever profile they have themselves.
    Empty if the user has configured the transports.
    """
    if any(os.environ.get(name) for name in _OWN_TRANSPORT_VARIABLES):
        return {}
    if any(Path(name).is_file() for name in _OWN_PROFILE_FILES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(package_file(PROFILE)))


def _check_domain_id() -> None:
    value = os.environ.get("ROS_DOMAIN_ID", "").strip()
    if value and not (value.isascii() and value.isdigit() and int(value) <= MAX_DOMAIN_ID):
        raise HandDepthError(
            f"ROS_DOMAIN_ID is {value!r}, it must be a whole number from 0 to 101 (up to {MAX_DOMAIN_ID} "
            "where no other program uses the ports): export ROS_DOMAIN_ID=0, or unset it"
        )


def _check_log_folder() -> None:
    """Create the folder of ROS's log files, found as rcl_logging finds it."""
    folder, source = _log_folder()
    if folder is None:
        raise HandDepthError(
            "ROS has nowhere to write its log files, as HOME is not set: "
            "export ROS_LOG_DIR=/tmp/ros_log (or another folder that can be written)"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise HandDepthError(
            f"ROS cannot write its log files to {folder} ({source}): {error.strerror}: "
            "export ROS_LOG_DIR=/tmp/ros_log (or another folder that can be written)"
        ) from error


def _log_folder() -> tuple[Path | None, str]:
    home = os.environ.get("HOME", "")
    for name, below in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log")):
        if value := os.environ.get(name, ""):
            if value.startswith("~"):
                value = home + value[1:]
            return Path(value) / below, f"from {name}"
    return (Path(home) / ".ros" / "log" if home else None), "from HOME"


def _import_problem(package: str, error: ImportError) -> str:
    """Return why a package of ROS cannot be imported, and what to do."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return (
            f"{package} cannot be imported ({error.msg}): source your ROS 2 (source "
            "/opt/ros/jazzy/setup.bash), or without ROS run  pip install 'hand_depth_ros[ros]'"
        )
    folder = Path(str(spec.origin)).parent
    distro = _distro(folder)
    ros = f"ROS {distro}" if distro else "ROS"
    python = f"Python {sys.version_info.major}.{sys.version_info.minor} ({sys.executable})"
    built_for = _python_versions(folder)
    if built_for and sys.version_info[:2] not in built_for:
        versions = " and ".join(f"{major}.{minor}" for major, minor in sorted(built_for))
        major, minor = max(built_for)
        return (
            f"{package} in {folder} ({ros}) is built for Python {versions} and does not load in {python}: "
            f"run it with python{major}.{minor} (outside of this virtual environment or conda), or leave "
            "that ROS out (unset PYTHONPATH) and run  pip install 'hand_depth_ros[ros]'"
        )
    setup = f"source /opt/ros/{distro or 'jazzy'}/setup.bash"
    return (
        f"{package} in {folder} ({ros}) does not load in {python}: {str(error).splitlines()[0]}: source "
        f"that ROS in this shell ({setup}), or install it again"
    )


def _distro(folder: Path) -> str:
    """Return the ROS distribution that a package folder belongs to, or ""."""
    found = re.search(r"/ros/(\w+)/", f"{folder.as_posix()}/")
    return found.group(1) if found else os.environ.get("ROS_DISTRO", "")


def _python_versions(folder: Path) -> set[tuple[int, int]]:
    """Return the Python versions that the extension modules in a package folder are built for."""
    tags = (re.search(r"\.cpython-(\d)(\d+)", path.name) for path in folder.glob("*.so"))
    return {(int(tag.group(1)), int(tag.group(2))) for tag in tags if tag}
