"""Read an MCAP file: any channels, attachments and metadata; closed, without index, or cut short.

The file is scanned once, record by record, so that neither a missing nor a wrong index loses a
message.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from hand_depth_ros.bag import mcap_records as mcap
from hand_depth_ros.bag.mcap_records import Channel, Record, Schema
from hand_depth_ros.bag.recorded import RecordedMessage, RecordedTopic
from hand_depth_ros.errors import BagError

ROSBAG2_METADATA = "rosbag2"
"""Name of the metadata record in which rosbag2 keeps the bag's metadata.yaml."""

_RUN_LENGTH = 1000  # messages outside chunks that are read together


@dataclass
class _Part:
    """Messages that lie together in the file: a chunk, or a run of messages outside chunks.

    Attributes:
        start: First byte; of a chunk, of its content.
        end: Byte after the last.
        is_chunk: Whether it is a chunk.
        length: Number of messages.
        start_time: Earliest log time, ns.
        channels: Numbers of the channels of its messages.
    """

    start: int
    end: int
    is_chunk: bool = False
    length: int = 0
    start_time: int = 2**64
    channels: set[int] = field(default_factory=set)

    def add(self, channel: int, logged: int) -> None:
        """Take note of a message."""
        self.length += 1
        self.start_time = min(self.start_time, logged)
        self.channels.add(channel)


class McapFile:
    """An MCAP file, scanned when it is opened.

    Attributes:
        topics: Recorded topics by channel number.
        attachments: Contents of the attachment records.
        metadata: Contents of the metadata records, but for rosbag2's own.
        is_compressed: Whether any chunk is compressed.
        cut_at: Byte from which the file is unreadable because the recording was killed; None if the
            file is whole.
    """

    def __init__(self, path: Path) -> None:
        """Open and scan the file.

        Raises:
            BagError: It is not an MCAP file, or was closed properly and is damaged.
        """
        self.path = path
        self.topics: dict[int, RecordedTopic] = {}
        self.attachments: list[bytes] = []
        self.metadata: list[bytes] = []
        self.is_compressed = False
        self.cut_at: int | None = None
        self._counts: Counter[int] = Counter()
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._parts: list[_Part] = []
        self._run: _Part | None = None
        self._file = path.open("rb")
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def counts(self) -> Counter[RecordedTopic]:
        """Return the number of messages of each topic."""
        return Counter({topic: self._counts[number] for number, topic in self.topics.items()})

    def messages(self, topics: Collection[RecordedTopic]) -> Iterator[RecordedMessage]:
        """Yield the messages of these topics in order of log time, equal ones in file order."""
        wanted = {number for number, topic in self.topics.items() if topic in topics}
        parts = [self._read_part(part, wanted) for part in self._parts if wanted & part.channels]
        for _, _, message in heapq.merge(*parts, key=lambda entry: entry[:2]):
            if message is not None:
                yield message

    def _read_part(self, part: _Part, wanted: set[int]) -> Iterator[tuple[int, int, RecordedMessage | None]]:
        yield part.start_time, -1, None  # read the part only when its time has come
        self._file.seek(part.start)
        data = self._file.read(part.end - part.start)
        content = mcap.chunk_content(data) if part.is_chunk else BytesIO(data)
        found = []
        for record in mcap.iterate_records(content, len(content.getbuffer())):
            if record.opcode == mcap.MESSAGE:
                head = mcap.MESSAGE_HEAD.unpack(content.read(mcap.MESSAGE_HEAD.size))
                number, sequence, logged, published = head
                if number in wanted:
                    payload = content.read(record.size - mcap.MESSAGE_HEAD.size)
                    found.append(RecordedMessage(self.topics[number], logged, payload, sequence, published))
        for message in sorted(found, key=lambda one: one.timestamp):
            yield message.timestamp, part.start, message

    def _scan(self) -> None:
        file = self._file
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(mcap.MAGIC)) != mcap.MAGIC:
            raise BagError(f"{self.path}: not an MCAP file, it does not begin as one")
        file.seek(size - len(mcap.MAGIC))
        is_closed = file.read() == mcap.MAGIC and size > len(mcap.MAGIC)
        file.seek(len(mcap.MAGIC))
        ended, problem = False, "it ends in the middle"
        for record in mcap.iterate_records(file, size):
            try:
                ended = self._scan_record(file, record, None)
            except (OSError, MemoryError):
                raise
            except Exception as error:  # of any type: the decompressors have their own
                problem = f"the record is damaged: {error}"
                file.seek(record.start - mcap.RECORD_HEAD.size)
                break
            if ended:
                break
        if not ended:
            self.cut_at = file.tell()
            if is_closed:
                raise BagError(
                    f"{self.path}: damaged at byte {self.cut_at} of {size} ({problem}): copy the file again, "
                    f"or save what is readable:  mcap recover {self.path} -o recovered.mcap"
                )
        for number, channel in self._channels.items():
            self.topics[number] = _topic(channel)

    def _scan_record(self, file: BinaryIO, record: Record, chunk: _Part | None) -> bool:
        """Take note of a record, of the file or of a chunk; return whether it ends the data."""
        opcode = record.opcode
        if not opcode:
            raise ValueError("zeros in place of a record")
        if opcode == mcap.MESSAGE:
            number, _, logged, _ = mcap.MESSAGE_HEAD.unpack(file.read(mcap.MESSAGE_HEAD.size))
            if number not in self._channels:
                raise ValueError(f"a message of channel {number}, which is not defined")
            self._counts[number] += 1
            (self._run_for(record) if chunk is None else chunk).add(number, logged)
        elif opcode == mcap.SCHEMA:
            number, schema = mcap.parse_schema(file.read(record.size))
            self._schemas[number] = schema
        elif opcode == mcap.CHANNEL:
            number, channel = mcap.parse_channel(file.read(record.size), self._schemas)
            if self._channels.setdefault(number, channel) != channel:
                raise ValueError(f"channel {number} is defined twice, differently")
        elif chunk is not None:
            pass  # a chunk holds no other records
        elif opcode == mcap.CHUNK:
            self._scan_chunk(file, record)
        elif opcode == mcap.ATTACHMENT:
            self.attachments.append(file.read(record.size))
        elif opcode == mcap.METADATA:
            content = file.read(record.size)
            if mcap.Content(content).text() != ROSBAG2_METADATA:
                self.metadata.append(content)
        return opcode in (mcap.DATA_END, mcap.FOOTER)

    def _scan_chunk(self, file: BinaryIO, record: Record) -> None:
        data = file.read(record.size)
        compression = mcap.Content(data[mcap.CHUNK_HEAD.size :]).text()
        self.is_compressed = self.is_compressed or bool(compression)
        content = mcap.chunk_content(data)
        end = len(content.getbuffer())
        chunk = _Part(record.start, record.start + record.size, is_chunk=True)
        for inner in mcap.iterate_records(content, end):
            self._scan_record(content, inner, chunk)
        if content.tell() != end:
            raise ValueError("the last record of the chunk is incomplete")
        self._parts.append(chunk)

    def _run_for(self, record: Record) -> _Part:
        """Return the run that a message outside chunks continues, or a new one."""
        start, end = record.start - mcap.RECORD_HEAD.size, record.start + record.size
        if self._run is None or self._run.end != start or self._run.length >= _RUN_LENGTH:
            self._run = _Part(start, end)
            self._parts.append(self._run)
        self._run.end = end
        return self._run


def _topic(channel: Channel) -> RecordedTopic:
    schema = channel.schema
    pairs = channel.pairs if channel.is_ros2 else {}
    return RecordedTopic(
        topic=channel.topic,
        msgtype=schema.name if schema else "",
        encoding=channel.encoding,
        definition=schema.data.decode(errors="replace") if schema and channel.is_ros2 else "",
        type_hash=pairs.get("topic_type_hash", ""),
        qos=pairs.get("offered_qos_profiles", ""),
        channel=channel,
    )
