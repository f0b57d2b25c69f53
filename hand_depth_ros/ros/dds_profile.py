"""The profile that gives a Fast DDS publisher room for images. Imports nothing slow."""

from __future__ import annotations

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.package_files import package_file

PROFILE = "config/fastdds_large_images.xml"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Names of the profile file for Fast DDS: up to ROS Jazzy, and from Kilted on."""


def profile_settings() -> str:
    """Return the settings of a publisher that loses large images, for an advice."""
    try:
        path = str(package_file(PROFILE))
    except HandDepthError:  # an installation without it still diagnoses
        path = f"hand_depth_ros's {PROFILE}"
    return f"{' and '.join(PROFILE_VARIABLES)} set to {path}"
