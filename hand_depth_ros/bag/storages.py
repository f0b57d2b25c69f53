"""Storage files of a new bag: one interface for mcap and sqlite3."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag2 import CompressionMode
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from hand_depth_ros.bag import mcap_records, metadata
from hand_depth_ros.bag.mcap_records import Channel, Schema
from hand_depth_ros.bag.mcap_writer import McapWriter
from hand_depth_ros.bag.recorded import IDL_HEADER, RecordedMessage, RecordedTopic

UNKNOWN_HASH = "RIHS01_" + "0" * 64
QOS_KEY = "offered_qos_profiles"


class McapStorage:
    """The mcap file of a bag."""

    def __init__(self, folder: Path, compressed: bool) -> None:
        """Create the file, with zstd in its chunks if `compressed`."""
        self.path = folder / f"{folder.name}.mcap"
        self.writer = McapWriter(self.path, compressed)

    def define(self, topic: RecordedTopic, definition: str, profiles: list[Qos]) -> int:
        """Create a topic; return its number."""
        return self.writer.add_channel(_channel(topic, definition, profiles))

    def write(self, number: int, message: RecordedMessage) -> None:
        """Write a message of a topic."""
        published = message.timestamp if message.published is None else message.published
        self.writer.write(number, message.timestamp, message.data, message.sequence, published)

    def close(self, text: str) -> None:
        """Finish the file; `text`: metadata as YAML, kept inside."""
        self.writer.close(text)

    def abort(self) -> None:
        """Close the file unfinished."""
        self.writer.abort()


class Sqlite3Storage:
    """The sqlite3 file of a bag, written by rosbags."""

    def __init__(self, folder: Path) -> None:
        """Create the file."""
        # rosbags puts the path into a URI as it is.
        self._writer = Sqlite3Writer(Path(quote(str(folder.absolute()))), CompressionMode.NONE)
        self.path = folder / f"{folder.name}.db3"
        self._connections: list[Connection] = []

    def define(self, topic: RecordedTopic, definition: str, profiles: list[Qos]) -> int:
        """Create a topic; return its number."""
        number = len(self._connections) + 1
        is_idl = definition.startswith(IDL_HEADER)
        kind = MessageDefinitionFormat.IDL if is_idl else MessageDefinitionFormat.MSG
        connection = Connection(
            number,
            topic.topic,
            topic.msgtype,
            MessageDefinition(kind, definition),
            topic.type_hash or UNKNOWN_HASH,
            0,
            ConnectionExtRosbag2(topic.encoding, profiles),
            None,
        )
        if topic.msgtype not in {one.msgtype for one in self._connections}:
            self._writer.add_msgtype(connection)
        self._writer.add_connection(connection, metadata.dump_profiles(profiles))
        self._connections.append(connection)
        return number

    def write(self, number: int, message: RecordedMessage) -> None:
        """Write a message of a topic."""
        self._writer.write(self._connections[number - 1], message.timestamp, message.data)

    def close(self, text: str) -> None:
        """Finish the file; `text`: metadata as YAML, kept inside."""
        self._writer.close(metadata.VERSION, text)

    def abort(self) -> None:
        """Close the file unfinished."""
        self._writer.abort()


def _channel(topic: RecordedTopic, definition: str, profiles: list[Qos]) -> Channel:
    """Return the mcap channel of a topic: that of the source, if its QoS is `profiles`."""
    if topic.channel is not None and not topic.is_ros2:
        return topic.channel
    schema, pairs = None, {}
    if topic.channel is not None:
        schema, pairs = topic.channel.schema, topic.channel.pairs
        if metadata.parse_profiles(topic.qos) == profiles:
            return topic.channel
    if schema is None:
        encoding = "ros2idl" if definition.startswith(IDL_HEADER) else "ros2msg"
        schema = Schema(topic.msgtype, encoding, definition.encode())
    pairs[QOS_KEY] = metadata.dump_profiles(profiles)
    return Channel(schema, topic.topic, topic.encoding, mcap_records.pack_map(pairs))
