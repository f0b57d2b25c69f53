"""Bags for tests: messages, recorders, and readers that share no code with the package.

Needs the bag extra; the mcap library where a function says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from backports import zstd
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from ruamel.yaml import YAML

STORE = get_typestore(Stores.ROS2_JAZZY)
GRIP, GRIP_DEFINITION = "gripper_msgs/msg/Grip", "string what\nfloat64[] values\n"
STORE.register(get_types_from_msg(GRIP_DEFINITION, GRIP))
TYPES: Any = STORE.types
IMAGE_TYPE, INFO_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
IMAGE, INFO = "/cam/image_raw", "/cam/camera_info"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
HEIGHT, WIDTH = 12, 16
FOREVER = QosTime(9223372036, 854775807)
RELIABLE = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    FOREVER,
    FOREVER,
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)
LATCHED = RELIABLE._replace(durability=QosDurability.TRANSIENT_LOCAL, depth=1)
BEST_EFFORT = RELIABLE._replace(reliability=QosReliability.BEST_EFFORT, deadline=QosTime(1, 2))


class Entry(NamedTuple):
    """A message to record: topic, type, receive time (ns), serialised data."""

    topic: str
    msgtype: str
    time: int
    data: bytes


def header(stamp: int) -> Any:
    """Return a Header with this stamp (ns)."""
    time = TYPES["builtin_interfaces/msg/Time"](stamp // SECOND, stamp % SECOND)
    return TYPES["std_msgs/msg/Header"](time, "camera")


def image_entry(stamp: int, received: int, seed: int = 0, topic: str = IMAGE) -> Entry:
    """Return a small colour image."""
    data = np.random.default_rng(seed).integers(0, 255, HEIGHT * WIDTH * 3, dtype=np.uint8)
    message = TYPES[IMAGE_TYPE](header(stamp), HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, data)
    return Entry(topic, IMAGE_TYPE, received, bytes(STORE.serialize_cdr(message, IMAGE_TYPE)))


def info_entry(stamp: int, received: int, f: float = 20.0, topic: str = INFO) -> Entry:
    """Return the camera_info of such an image."""
    cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    message = TYPES[INFO_TYPE](
        header=header(stamp),
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([f, 0, cx, 0, f, cy, 0, 0, 1.0]),
        r=np.eye(3).ravel(),
        p=np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1.0, 0]),
        binning_x=0,
        binning_y=0,
        roi=TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )
    return Entry(topic, INFO_TYPE, received, bytes(STORE.serialize_cdr(message, INFO_TYPE)))


def pairs(count: int, f: float = 20.0) -> list[Entry]:
    """Return `count` images, each with its camera_info, a tenth of a second apart."""
    entries = []
    for index in range(count):
        time = START + index * SECOND // 10
        entries += [info_entry(time, time, f), image_entry(time, time + 1, index)]
    return entries


def write_bag(
    path: Path,
    entries: Sequence[Entry],
    storage: str = "sqlite3",
    mode: CompressionMode = CompressionMode.NONE,
    qos: dict[str, list[Qos]] | None = None,
    version: int = 9,
) -> Path:
    """Record the entries with rosbags; return the folder."""
    writer = Writer(path, version=version, storage_plugin=StoragePlugin[storage.upper()])  # type: ignore[arg-type]
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections: dict[tuple[str, str], Any] = {}
        for entry in entries:
            key = (entry.topic, entry.msgtype)
            if key not in connections:
                profiles = (qos or {}).get(entry.topic, [RELIABLE])
                connections[key] = writer.add_connection(*key, typestore=STORE, offered_qos_profiles=profiles)
            writer.write(connections[key], entry.time, entry.data)
    return path


def edit_metadata(folder: Path, change: Any) -> None:
    """Call `change` with the content of metadata.yaml and write it back."""
    yaml = YAML(typ="safe")
    file = folder / "metadata.yaml"
    content = yaml.load(file.read_text())
    change(content["rosbag2_bagfile_information"])
    with file.open("w") as stream:
        yaml.dump(content, stream)


def split_bag(path: Path, parts: Sequence[Sequence[Entry]], **options: Any) -> Path:
    """Record each part into a storage file of its own, in one bag."""
    path.mkdir()
    listed: dict[str, Any] = {}
    for number, part in enumerate(parts):
        single = write_bag(path / f"part{number}", part, **options)
        content = YAML(typ="safe").load((single / "metadata.yaml").read_text())
        information = content["rosbag2_bagfile_information"]
        for name in information["relative_file_paths"]:
            (single / name).rename(path / name)
        (single / "metadata.yaml").unlink()
        single.rmdir()
        if not listed:
            listed = information
            continue
        listed["relative_file_paths"] += information["relative_file_paths"]
        listed["files"] += information["files"]
        listed["message_count"] += information["message_count"]
        known = {topic["topic_metadata"]["name"]: topic for topic in listed["topics_with_message_count"]}
        for topic in information["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            if name in known:
                known[name]["message_count"] += topic["message_count"]
            else:
                listed["topics_with_message_count"].append(topic)
    with (path / "metadata.yaml").open("w") as stream:
        YAML(typ="safe").dump({"rosbag2_bagfile_information": listed}, stream)
    return path


def storage_file(bag: Path) -> Path:
    """Return the only storage file of a bag."""
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    return file


def read_messages(bag: Path) -> list[tuple[str, int, bytes]]:
    """Return (topic, time, data) of a bag's only file, by plain sqlite3 or the mcap library."""
    file = storage_file(bag)
    data = file.read_bytes()
    if file.suffix == ".zstd":
        data = zstd.decompress(data)
    if ".mcap" in file.suffixes:
        found = [(topic, time, content) for topic, time, _, _, content in read_mcap(data)]
    else:
        database = sqlite3.connect(":memory:")
        database.deserialize(data)
        query = "SELECT name, timestamp, data FROM messages JOIN topics ON topic_id = topics.id"
        found = [tuple(row) for row in database.execute(f"{query} ORDER BY messages.id")]
    by_message = "compression_mode: message" in (bag / "metadata.yaml").read_text()
    return [(topic, time, zstd.decompress(one) if by_message else one) for topic, time, one in found]


def read_mcap(data: bytes) -> list[tuple[str, int, int, int, bytes]]:
    """Return (topic, log time, publish time, sequence, data) by the mcap library, in file order."""
    from mcap.stream_reader import StreamReader

    channels: dict[int, str] = {}
    found = []
    for record in StreamReader(BytesIO(data), record_size_limit=None).records:
        if type(record).__name__ == "Channel":
            channels[record.id] = record.topic
        elif type(record).__name__ == "Message":
            topic = channels[record.channel_id]
            found.append((topic, record.log_time, record.publish_time, record.sequence, record.data))
    return found
