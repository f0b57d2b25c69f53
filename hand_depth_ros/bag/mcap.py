"""Keep the sequence number and publish time of mcap messages, which rosbags drops.

Layouts follow the MCAP specification (https://mcap.dev/spec). Imports nothing of this package.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_mcap import McapReader, McapWriter, decompress

MESSAGE, CHUNK = 0x05, 0x06
RECORD_HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQI")  # start, end, uncompressed size, crc
CHUNK_BYTES = 2**20


class MessageMeta(NamedTuple):
    """Sequence number and publish time (ns) of a message."""

    sequence: int
    publish_time: int


class MessageMetaQueue:
    """The MessageMeta of all messages of mcap files, in the order in which rosbags reads them."""

    def __init__(self, storages: list[McapReader]) -> None:
        """Scan the files."""
        self._queues: dict[tuple[str, int], deque[MessageMeta]] = defaultdict(deque)
        for storage in storages:
            topics = {connection.id: connection.topic for connection in storage.connections}
            for channel, sequence, logged, published in _message_heads(storage.path, storage.data_start):
                if channel in topics:
                    self._queues[topics[channel], logged].append(MessageMeta(sequence, published))

    def take(self, connection: Connection, timestamp: int) -> MessageMeta:
        """Return that of the next message with this topic and receive time."""
        queue = self._queues.get((connection.topic, timestamp))
        return queue.popleft() if queue else MessageMeta(0, timestamp)


class McapWriterWithMeta(McapWriter):
    """rosbags' writer, but `meta` is written with the next message."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        """Create the file."""
        super().__init__(path, compression)
        self.meta: MessageMeta | None = None
        self._inside_write = False

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Write the message as rosbags does, then its sequence number and publish time."""
        chunk = self.chunk.bio
        start = chunk.tell()
        self._inside_write = True
        super().write(connection, timestamp, data)
        self._inside_write = False
        if self.meta is not None:
            head = MESSAGE_HEAD.pack(connection.id, self.meta.sequence, timestamp, self.meta.publish_time)
            end = chunk.tell()
            chunk.seek(start + RECORD_HEAD.size)
            chunk.write(head)
            chunk.seek(end)
            self.meta = None
        if chunk.tell() > CHUNK_BYTES:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Close the chunk, but not before the message that fills it is complete."""
        if not self._inside_write:
            super().close_chunk()


def _message_heads(path: Any, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield channel, sequence, log time and publish time of every message in file order."""
    with path.open("rb") as file:
        file.seek(start)
        for kind, size in _records(file):
            if kind == MESSAGE:
                yield MESSAGE_HEAD.unpack(file.read(MESSAGE_HEAD.size))
            elif kind == CHUNK:
                chunk = BytesIO(_decompressed_chunk(file.read(size)))
                for inner, _ in _records(chunk):
                    if inner == MESSAGE:
                        yield MESSAGE_HEAD.unpack(chunk.read(MESSAGE_HEAD.size))


def _records(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield kind and size of each record, with the file positioned at the record's content."""
    while len(head := file.read(RECORD_HEAD.size)) == RECORD_HEAD.size:
        kind, size = RECORD_HEAD.unpack(head)
        content = file.tell()
        yield kind, size
        file.seek(content + size)


def _decompressed_chunk(record: bytes) -> bytes:
    """Return the records inside a chunk record."""
    _, _, size, crc = CHUNK_HEAD.unpack_from(record)
    at = CHUNK_HEAD.size
    (length,) = struct.unpack_from("<I", record, at)
    compression = record[at + 4 : at + 4 + length].decode()
    return decompress(record[at + 4 + length + 8 :], compression, size, crc)
