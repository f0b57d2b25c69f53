"""Read and write metadata.yaml of a rosbag2, and the QoS profiles in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePath
from typing import Any

from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v8, parse_qos
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hand_depth_ros.errors import BagError

FILE_NAME = "metadata.yaml"
ROOT = "rosbag2_bagfile_information"
VERSION = 8
"""Version of the metadata that is written: what Iron and later read."""


@dataclass(frozen=True)
class ListedTopic:
    """A topic as metadata.yaml lists it; `qos` is of any form that rosbag2 has ever written."""

    name: str
    msgtype: str
    encoding: str
    type_hash: str
    qos: object
    count: int


@dataclass(frozen=True)
class BagMetadata:
    """Content of a metadata.yaml.

    Attributes:
        storage: Storage plugin, "sqlite3" or "mcap".
        files: Names of the storage files.
        compression: "", "file" or "message".
        topics: Listed topics.
        custom_data: Key-value pairs of the user.
    """

    storage: str
    files: tuple[str, ...]
    compression: str = ""
    topics: tuple[ListedTopic, ...] = ()
    custom_data: dict[str, str] = field(default_factory=dict)


def read_metadata(folder: Path) -> BagMetadata:
    """Read the metadata.yaml of a bag; BagError if it cannot be read."""
    path = folder / FILE_NAME
    try:
        root = YAML(typ="safe").load(path.read_text(encoding="utf-8"))[ROOT]
        compression = str(root.get("compression_mode") or "").lower()
        compression = "" if compression == "none" else compression
        compression_format = root.get("compression_format") or ""
        metadata = BagMetadata(
            storage=str(root["storage_identifier"]),
            files=tuple(PurePath(str(file)).name for file in root["relative_file_paths"]),
            compression=compression,
            topics=tuple(_listed_topic(entry) for entry in root.get("topics_with_message_count") or ()),
            custom_data={str(key): str(value) for key, value in (root.get("custom_data") or {}).items()},
        )
    except YAMLError as error:
        raise BagError(f"{folder}: its {FILE_NAME} is not YAML: {' '.join(str(error).split())}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BagError(
            f"{folder}: its {FILE_NAME} is not that of a rosbag2 ({type(error).__name__}: {error}): "
            f"rebuild it with  ros2 bag reindex {folder}  or give the .db3 or .mcap file itself"
        ) from error
    if metadata.storage not in ("sqlite3", "mcap"):
        raise BagError(
            f"{folder}: the storage plugin {metadata.storage!r} is not supported: convert the bag to mcap "
            "with  ros2 bag convert"
        )
    if compression not in ("", "file", "message") or (compression and compression_format != "zstd"):
        raise BagError(
            f"{folder}: compression {compression_format!r} by {compression!r} is not supported: decompress the "
            "bag with  ros2 bag convert"
        )
    return metadata


def _listed_topic(entry: Mapping[str, Any]) -> ListedTopic:
    about = entry["topic_metadata"]
    return ListedTopic(
        name=about["name"],
        msgtype=about["type"],
        encoding=about.get("serialization_format") or "cdr",
        type_hash=about.get("type_description_hash") or "",
        qos=about.get("offered_qos_profiles") or "",
        count=int(entry.get("message_count") or 0),
    )


def parse_profiles(qos: Any) -> list[Qos] | None:
    """Return QoS profiles of any form that rosbag2 has written; None if it cannot be understood."""
    try:
        profiles: list[Qos] = parse_qos(qos)
    except Exception:  # of any type: what is no QoS is not needed to copy messages
        return None
    return profiles


def dump_profiles(profiles: list[Qos]) -> str:
    """Return QoS profiles as YAML in the form of metadata version 8."""
    return dump_qos_v8(profiles)


def dump_metadata(information: Mapping[str, Any], root: bool) -> str:
    """Return metadata as YAML: of a metadata.yaml with `root`, of a storage file without."""
    stream = StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.dump({ROOT: dict(information)} if root else dict(information), stream)
    return stream.getvalue()
