"""Types shared by the readers and writers of bags: a recorded topic and a recorded message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hand_depth_ros.bag.mcap_records import Channel

IDL_HEADER = "=" * 80 + "\nIDL: "
"""First line of an IDL definition, as rosbag2 writes it."""


@dataclass(frozen=True, eq=False)
class RecordedTopic:
    """A topic of a bag.

    Attributes:
        topic: Its name.
        msgtype: Message type, for example sensor_msgs/msg/Image.
        encoding: Serialisation format; "cdr" for ROS 2.
        definition: Text of the message definition, "" if the bag has none.
        type_hash: RIHS01 hash of the type, "" if the bag has none.
        qos: Offered QoS profiles as the storage has them, YAML.
        metadata_qos: The same as metadata.yaml has them; None if it does not list the topic.
        channel: The mcap channel; None in sqlite3 bags.
    """

    topic: str
    msgtype: str
    encoding: str = "cdr"
    definition: str = ""
    type_hash: str = ""
    qos: str = ""
    metadata_qos: object = None
    channel: Channel | None = field(default=None, repr=False)

    @property
    def is_ros2(self) -> bool:
        """True if its messages are ROS 2 messages; others are copied byte for byte."""
        return self.encoding == "cdr" and (self.channel is None or self.channel.is_ros2)


class RecordedMessage(NamedTuple):
    """A message of a bag: its topic, receive time (ns), serialised data.

    `sequence` and `published` (publish time, ns) exist in mcap only.
    """

    connection: RecordedTopic
    timestamp: int
    data: bytes
    sequence: int = 0
    published: int | None = None
