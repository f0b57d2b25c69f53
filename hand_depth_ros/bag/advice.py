"""Say what to do about a bag that cannot be read; tests carry out what is printed."""

from __future__ import annotations

from pathlib import Path

from hand_depth_ros.bag.metadata import FILE_NAME

STORAGE_SUFFIXES = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")


def ros1_advice(path: Path, bag: Path) -> str:
    """Return what to do with a ROS 1 recording.

    Args:
        path: What was given.
        bag: The .bag file to convert.
    """
    return (
        f"{path}: a ROS 1 recording; convert it to ROS 2 first:  "
        f"rosbags-convert --src {bag} --dst NEW_FOLDER --dst-typestore ros2_jazzy"
    )


def missing_metadata_advice(folder: Path) -> str:
    """Return what to do with a folder that has no metadata.yaml."""
    inside = sorted(path for path in folder.iterdir() if path.is_file())
    ros1 = [path for path in inside if path.suffix == ".bag"]
    storage = [path for path in inside if path.name.endswith(STORAGE_SUFFIXES)]
    packed = [path for path in storage if path.suffix == ".zstd"]
    if ros1 and not storage:
        return ros1_advice(folder, ros1[0])
    if packed:  # ros2 bag reindex does not read compressed bags
        return (
            f"{folder}: no {FILE_NAME}, the recording was not closed: give its files one by one, they are "
            f"decompressed for you: {', '.join(str(path) for path in storage)}"
        )
    return (
        f"{folder}: a rosbag2 folder has a {FILE_NAME}: run  ros2 bag reindex {folder}  "
        "or give the .db3 or .mcap file itself"
    )
