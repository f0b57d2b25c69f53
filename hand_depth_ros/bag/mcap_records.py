"""Records of MCAP files: layouts, and iteration over a file's complete records.

Layouts follow the MCAP specification (https://mcap.dev/spec). Imports nothing of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, NamedTuple

from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(0x01, 0x09)
ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX = range(0x09, 0x0E)
SUMMARY_OFFSET, DATA_END = 0x0E, 0x0F

RECORD_HEAD = struct.Struct("<BQ")  # opcode, length
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQI")  # start, end, uncompressed size, crc
UINT16, UINT32, UINT64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


class Record(NamedTuple):
    """Position of a record in a file."""

    opcode: int
    start: int  # of the content, bytes
    size: int  # of the content, bytes


@dataclass(frozen=True)
class Schema:
    """A schema record without its number."""

    name: str
    encoding: str
    data: bytes


@dataclass(frozen=True)
class Channel:
    """A channel record without its numbers; `schema` None: the channel has none."""

    schema: Schema | None
    topic: str
    encoding: str
    metadata: bytes  # the map as stored

    @property
    def is_ros2(self) -> bool:
        """True if its messages are serialised ROS 2 messages of a known type."""
        ros2 = self.schema is not None and self.schema.encoding in ("ros2msg", "ros2idl", "omgidl", "")
        return ros2 and self.encoding == "cdr"

    @property
    def pairs(self) -> dict[str, str]:
        """The metadata; empty if it is malformed, which is no reason to lose messages."""
        try:
            return parse_map(self.metadata)
        except ValueError:
            return {}


class Content:
    """Read the fields of a record's content one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, layout: struct.Struct) -> int:
        """Return an unsigned integer of this layout."""
        return int.from_bytes(self.take(layout.size), "little")

    def take(self, size: int) -> bytes:
        """Return that many bytes; ValueError if there are fewer."""
        data = self._data[self._position : self._position + size]
        if len(data) != size:
            raise ValueError(f"a record ends {size - len(data)} bytes early")
        self._position += size
        return data

    def block(self) -> bytes:
        """Return bytes that follow their length in 32 bits."""
        return self.take(self.number(UINT32))

    def text(self) -> str:
        """Return a string."""
        return self.block().decode()

    @property
    def ended(self) -> bool:
        """True once all fields have been read."""
        return self._position >= len(self._data)


def iterate_records(file: BinaryIO, end: int) -> Iterator[Record]:
    """Yield each complete record from the current position up to `end`.

    The file is positioned at the record's content, which need not be read.
    """
    while (start := file.tell()) + RECORD_HEAD.size <= end:
        opcode, size = RECORD_HEAD.unpack(file.read(RECORD_HEAD.size))
        content = start + RECORD_HEAD.size
        if content + size > end:
            file.seek(start)
            return
        yield Record(opcode, content, size)
        file.seek(content + size)


def chunk_content(record: bytes) -> BytesIO:
    """Return the records inside a chunk, decompressed and checked against their checksum.

    Raises:
        Exception: The chunk is damaged; of the types that the decompressors raise.
    """
    content = Content(record)
    _, _, size, crc = CHUNK_HEAD.unpack(content.take(CHUNK_HEAD.size))
    compression = content.text()
    return BytesIO(decompress(content.take(content.number(UINT64)), compression, size, crc))


def parse_schema(data: bytes) -> tuple[int, Schema]:
    """Return number and schema of a schema record."""
    content = Content(data)
    return content.number(UINT16), Schema(content.text(), content.text(), content.block())


def parse_channel(data: bytes, schemas: dict[int, Schema]) -> tuple[int, Channel]:
    """Return number and channel of a channel record; KeyError if its schema is missing."""
    content = Content(data)
    number, schema = content.number(UINT16), content.number(UINT16)
    topic, encoding, metadata = content.text(), content.text(), content.block()
    return number, Channel(schemas[schema] if schema else None, topic, encoding, metadata)


def parse_map(data: bytes) -> dict[str, str]:
    """Return a map of strings, given without its length."""
    content, pairs = Content(data), {}
    while not content.ended:
        key = content.text()
        pairs[key] = content.text()
    return pairs


def pack_text(text: str | bytes) -> bytes:
    """Return a string, or bytes, after its length in 32 bits."""
    data = text.encode() if isinstance(text, str) else text
    return UINT32.pack(len(data)) + data


def pack_map(pairs: dict[str, str]) -> bytes:
    """Return a map of strings without its length."""
    return b"".join(pack_text(key) + pack_text(value) for key, value in pairs.items())


def pack_record(opcode: int, content: bytes) -> bytes:
    """Return a whole record."""
    return RECORD_HEAD.pack(opcode, len(content)) + content
