"""Write an MCAP file with any channels, attachments and metadata, as rosbag2 reads it."""

from __future__ import annotations

import sys
from binascii import crc32
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from hand_depth_ros import __version__
from hand_depth_ros.bag import mcap_records as mcap
from hand_depth_ros.bag.mcap_reader import ROSBAG2_METADATA
from hand_depth_ros.bag.mcap_records import UINT16, UINT32, UINT64, Channel, Schema, pack_record, pack_text

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 2**20
"""A chunk is closed when it is larger than this."""

_NO_TIME = 2**64 - 1


class _Written(NamedTuple):
    """Place of a record in the file, bytes."""

    start: int
    size: int


class _Chunk:
    """The chunk that is being filled."""

    def __init__(self) -> None:
        self.content = BytesIO()
        self.start_time, self.end_time = _NO_TIME, 0
        self.index: dict[int, list[tuple[int, int]]] = defaultdict(list)  # channel -> (log time, offset)


class McapWriter:
    """Writer of one MCAP file.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, compressed: bool) -> None:
        """Create the file, with zstd in its chunks if `compressed`."""
        self.path = path
        self._file = path.open("xb")
        self._compression = "zstd" if compressed else ""
        self._compress: Callable[[bytes], bytes] = zstd.compress if compressed else bytes
        self._schemas: dict[Schema, int] = {}
        self._channels: dict[int, Channel] = {}
        self._chunk = _Chunk()
        self._counts: dict[int, int] = {}
        self._start_time, self._end_time = _NO_TIME, 0
        self._chunk_indexes: list[bytes] = []
        self._attachment_indexes: list[bytes] = []
        self._metadata_indexes: list[bytes] = []
        self._file.write(mcap.MAGIC)
        library = pack_text(f"hand_depth_ros {__version__}")
        self._file.write(pack_record(mcap.HEADER, pack_text("ros2") + library))

    def add_channel(self, channel: Channel) -> int:
        """Define a channel; return its number."""
        if channel.schema is not None and channel.schema not in self._schemas:
            self._schemas[channel.schema] = len(self._schemas) + 1
            self._chunk.content.write(self._schema_record(channel.schema))
        number = len(self._channels) + 1
        self._channels[number] = channel
        self._counts[number] = 0
        self._chunk.content.write(self._channel_record(number, channel))
        return number

    def write(self, number: int, timestamp: int, data: bytes, sequence: int, published: int) -> None:
        """Write a message of a channel; times in ns."""
        chunk = self._chunk
        chunk.index[number].append((timestamp, chunk.content.tell()))
        head = mcap.MESSAGE_HEAD.pack(number, sequence, timestamp, published)
        chunk.content.write(mcap.RECORD_HEAD.pack(mcap.MESSAGE, len(head) + len(data)))
        chunk.content.write(head)
        chunk.content.write(data)
        chunk.start_time, chunk.end_time = min(chunk.start_time, timestamp), max(chunk.end_time, timestamp)
        self._counts[number] += 1
        if chunk.content.tell() > CHUNK_BYTES:
            self._close_chunk()

    def add_attachment(self, content: bytes) -> None:
        """Write the content of an attachment record as it is."""
        place = self._append(mcap.ATTACHMENT, content)
        fields = mcap.Content(content)
        times = fields.take(2 * UINT64.size)  # log time, create time
        name, media_type = fields.text(), fields.text()
        size = fields.number(UINT64)
        self._attachment_indexes.append(
            _packed(place) + times + UINT64.pack(size) + pack_text(name) + pack_text(media_type)
        )

    def add_metadata(self, content: bytes) -> None:
        """Write the content of a metadata record as it is."""
        place = self._append(mcap.METADATA, content)
        self._metadata_indexes.append(_packed(place) + pack_text(mcap.Content(content).text()))

    def close(self, rosbag2_metadata: str) -> None:
        """Finish the file.

        Args:
            rosbag2_metadata: YAML that rosbag2 reads if metadata.yaml is missing.
        """
        if self._chunk.content.tell():
            self._close_chunk()
        pairs = mcap.pack_map({"serialized_metadata": rosbag2_metadata})
        self.add_metadata(pack_text(ROSBAG2_METADATA) + pack_text(pairs))
        self._append(mcap.DATA_END, UINT32.pack(0))
        summary_start = self._file.tell()
        groups = [
            (mcap.SCHEMA, b"".join(map(self._schema_record, self._schemas))),
            (mcap.CHANNEL, b"".join(self._channel_record(*one) for one in self._channels.items())),
            (mcap.CHUNK_INDEX, _records(mcap.CHUNK_INDEX, self._chunk_indexes)),
            (mcap.ATTACHMENT_INDEX, _records(mcap.ATTACHMENT_INDEX, self._attachment_indexes)),
            (mcap.METADATA_INDEX, _records(mcap.METADATA_INDEX, self._metadata_indexes)),
            (mcap.STATISTICS, pack_record(mcap.STATISTICS, self._statistics())),
        ]
        offsets = b""
        for opcode, records in groups:
            if records:
                group = bytes([opcode]) + UINT64.pack(self._file.tell()) + UINT64.pack(len(records))
                offsets += pack_record(mcap.SUMMARY_OFFSET, group)
                self._file.write(records)
        summary_offset_start = self._file.tell()
        self._file.write(offsets)
        footer = UINT64.pack(summary_start) + UINT64.pack(summary_offset_start) + UINT32.pack(0)
        self._append(mcap.FOOTER, footer)
        self._file.write(mcap.MAGIC)
        self._file.close()

    def abort(self) -> None:
        """Close the file unfinished."""
        self._file.close()

    def _append(self, opcode: int, content: bytes) -> _Written:
        start = self._file.tell()
        self._file.write(pack_record(opcode, content))
        return _Written(start, self._file.tell() - start)

    def _close_chunk(self) -> None:
        chunk, self._chunk = self._chunk, _Chunk()
        content = chunk.content.getvalue()
        start_time = chunk.start_time if chunk.index else 0
        packed = self._compress(content)
        head = mcap.CHUNK_HEAD.pack(start_time, chunk.end_time, len(content), crc32(content))
        place = self._append(
            mcap.CHUNK, head + pack_text(self._compression) + UINT64.pack(len(packed)) + packed
        )
        offsets = b""
        for number, messages in chunk.index.items():
            offsets += UINT16.pack(number) + UINT64.pack(self._file.tell())
            entries = b"".join(UINT64.pack(time) + UINT64.pack(offset) for time, offset in messages)
            self._append(mcap.MESSAGE_INDEX, UINT16.pack(number) + pack_text(entries))
        index_size = self._file.tell() - place.start - place.size
        self._chunk_indexes.append(
            UINT64.pack(start_time)
            + UINT64.pack(chunk.end_time)
            + _packed(place)
            + pack_text(offsets)
            + UINT64.pack(index_size)
            + pack_text(self._compression)
            + UINT64.pack(len(packed))
            + UINT64.pack(len(content))
        )
        self._start_time = min(self._start_time, chunk.start_time)
        self._end_time = max(self._end_time, chunk.end_time)

    def _schema_record(self, schema: Schema) -> bytes:
        number = UINT16.pack(self._schemas[schema])
        content = pack_text(schema.name) + pack_text(schema.encoding) + pack_text(schema.data)
        return pack_record(mcap.SCHEMA, number + content)

    def _channel_record(self, number: int, channel: Channel) -> bytes:
        schema = self._schemas[channel.schema] if channel.schema is not None else 0
        content = pack_text(channel.topic) + pack_text(channel.encoding) + pack_text(channel.metadata)
        return pack_record(mcap.CHANNEL, UINT16.pack(number) + UINT16.pack(schema) + content)

    def _statistics(self) -> bytes:
        total = sum(self._counts.values())
        counts = b"".join(UINT16.pack(number) + UINT64.pack(count) for number, count in self._counts.items())
        return (
            UINT64.pack(total)
            + UINT16.pack(len(self._schemas))
            + UINT32.pack(len(self._channels))
            + UINT32.pack(len(self._attachment_indexes))
            + UINT32.pack(len(self._metadata_indexes))
            + UINT32.pack(len(self._chunk_indexes))
            + UINT64.pack(self._start_time if total else 0)
            + UINT64.pack(self._end_time)
            + pack_text(counts)
        )


def _packed(place: _Written) -> bytes:
    return UINT64.pack(place.start) + UINT64.pack(place.size)


def _records(opcode: int, contents: list[bytes]) -> bytes:
    return b"".join(pack_record(opcode, content) for content in contents)
