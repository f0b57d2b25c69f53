"""What rosbags leaves out of mcap files: each message's sequence number and publish time (Jazzy's rosbag2 records them).

Layouts are those of the MCAP specification (https://mcap.dev/spec). May import nothing of ours.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.interfaces import Connection
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_mcap import McapReader, McapWriter, decompress

MESSAGE, CHUNK = 0x05, 0x06
RECORD_HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQI")  # start, end, uncompressed size, crc
CHUNK_BYTES = 2**20

Extra = tuple[int, int]
"""Sequence number and publish time in ns."""


class McapExtras:
    """The extras of every message of some mcap files, taken in the order in which rosbags reads them."""

    def __init__(self, storages: list[McapReader]) -> None:
        self._queues: dict[tuple[str, int], deque[Extra]] = defaultdict(deque)
        for storage in storages:
            topics = {connection.id: connection.topic for connection in storage.connections}
            for channel, sequence, logged, published in _message_heads(storage.path, storage.data_start):
                if channel in topics:
                    self._queues[topics[channel], logged].append((sequence, published))

    def take(self, connection: Connection, timestamp: int) -> Extra:
        """Those of the next message with this topic and receive time."""
        queue = self._queues.get((connection.topic, timestamp))
        return queue.popleft() if queue else (0, timestamp)


class McapWriterWithExtras(McapWriter):
    """rosbags' writer, but `extra` goes with the next message."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(path, compression)
        self.extra: Extra | None = None
        self._inside_write = False

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Write the message as rosbags does, then its sequence number and publish time into its head."""
        chunk = self.chunk.bio
        start = chunk.tell()
        self._inside_write = True
        super().write(connection, timestamp, data)
        self._inside_write = False
        if self.extra is not None:
            sequence, published = self.extra
            head = MESSAGE_HEAD.pack(connection.id, sequence, timestamp, published)
            end = chunk.tell()
            chunk.seek(start + RECORD_HEAD.size)
            chunk.write(head)
            chunk.seek(end)
            self.extra = None
        if chunk.tell() > CHUNK_BYTES:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Not before the message that fills the chunk is complete."""
        if not self._inside_write:
            super().close_chunk()


def _message_heads(path: Any, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Channel, sequence, log time and publish time of every message, in the order of the file."""
    with path.open("rb") as file:
        file.seek(start)
        for kind, size in _records(file):
            if kind == MESSAGE:
                yield MESSAGE_HEAD.unpack(file.read(MESSAGE_HEAD.size))
            elif kind == CHUNK:
                chunk = BytesIO(_unpacked(file.read(size)))
                for inner, _ in _records(chunk):
                    if inner == MESSAGE:
                        yield MESSAGE_HEAD.unpack(chunk.read(MESSAGE_HEAD.size))


def _records(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Kind and size of each record; the file stands at its content, which need not be read."""
    while len(head := file.read(RECORD_HEAD.size)) == RECORD_HEAD.size:
        kind, size = RECORD_HEAD.unpack(head)
        content = file.tell()
        yield kind, size
        file.seek(content + size)


def _unpacked(record: bytes) -> bytes:
    """The messages of a chunk record."""
    _, _, size, crc = CHUNK_HEAD.unpack_from(record)
    at = CHUNK_HEAD.size
    (length,) = struct.unpack_from("<I", record, at)
    compression = record[at + 4 : at + 4 + length].decode()
    return decompress(record[at + 4 + length + 8 :], compression, size, crc)
