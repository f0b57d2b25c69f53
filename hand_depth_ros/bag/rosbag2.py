"""Rosbag2 folders and files by way of rosbags: reading with one kind of error, writing all or nothing.

No ROS installation needed. May import nothing of ours but errors.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hand_depth_ros.errors import BagError, MissingDependencyError

try:
    from rosbags.interfaces import (
        Connection,
        MessageDefinitionFormat,
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
    from rosbags.rosbag2.errors import WriterError
    from rosbags.rosbag2.storage_mcap import McapReader
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
    from rosbags.typesys.store import Typestore

    from hand_depth_ros.bag.mcap import Extra, McapExtras, McapWriterWithExtras
except ImportError as error:
    raise MissingDependencyError.for_extra("bag", "rosbags") from error

FOREVER = QosTime(9223372036, 854775807)
UNKNOWN_HASH = "RIHS01_" + "0" * 64
IDL_SEPARATOR = "=" * 80 + "\n"

OFFERED_QOS = Qos(
    QosHistory.KEEP_LAST,
    5,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    FOREVER,
    FOREVER,
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)
"""What the node's publishers offer, recorded with the topics that are added."""


class _Writer(Writer):
    STORAGE_PLUGINS = {**Writer.STORAGE_PLUGINS, StoragePlugin.MCAP: McapWriterWithExtras}  # noqa: RUF012


class BagReader:
    """A rosbag2 folder, or one of its .db3 or .mcap files; every trouble with it is a BagError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> BagReader:
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            raise BagError(
                f"{self.path}: a rosbag2 folder has a metadata.yaml: run  ros2 bag reindex {self.path}  "
                "or give the .db3 or .mcap file itself"
            )
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except Exception as error:
            raise self._unreadable(error) from error
        self.typestore = self._typestore()
        return self

    def extras(self) -> McapExtras | None:
        """Sequence numbers and publish times, if the bag is mcap and so has them."""
        if self.storage != StoragePlugin.MCAP:
            return None
        try:
            return McapExtras(self._storages())
        except Exception as error:
            raise self._unreadable(error) from error

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def connections(self) -> list[Connection]:
        """The recorded topics."""
        return self._reader.connections

    @property
    def message_count(self) -> int:
        return self._reader.message_count

    @property
    def storage(self) -> StoragePlugin:
        """The storage plugin that wrote the bag."""
        return StoragePlugin.MCAP if isinstance(self._storages()[0], McapReader) else StoragePlugin.SQLITE3

    @property
    def compression(self) -> CompressionMode:
        """How the bag is compressed: not at all, whole files, each message, or inside mcap."""
        mode = self._reader.compression_mode
        if mode:
            return CompressionMode[mode.upper()]
        chunks = [chunk for storage in self._storages() for chunk in getattr(storage, "chunks", ())]
        return CompressionMode.STORAGE if any(c.compression for c in chunks) else CompressionMode.NONE

    @property
    def custom_data(self) -> dict[str, str]:
        """The key-value pairs of metadata.yaml."""
        return dict(self._reader.storage.metadata.custom or {})

    def messages(self, connections: Collection[Connection] = ()) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, receive time in ns and serialised message, in the order of time."""
        messages = self._reader.messages(connections)
        while True:
            try:
                item = next(messages)
            except StopIteration:
                return
            except Exception as error:
                raise self._unreadable(error) from error
            yield item

    def read(self, connection: Connection, data: bytes) -> Any:
        """A message as an object with its fields; raises BagError where the bytes do not make one."""
        try:
            return self.typestore.deserialize_cdr(data, connection.msgtype)
        except Exception as error:
            raise BagError(f"a message on {connection.topic} is no {connection.msgtype}: {error}") from error

    def _storages(self) -> list[Any]:
        return getattr(self._reader.storage, "storages", [self._reader.storage])

    def _typestore(self) -> Typestore:
        """The types of Jazzy; where the bag brings definitions of its own, those."""
        typestore = get_typestore(Stores.ROS2_JAZZY)
        try:
            for connection in self.connections:
                text = connection.msgdef.data
                if connection.msgtype in typestore.types or not text:
                    continue
                if connection.msgdef.format == MessageDefinitionFormat.MSG:
                    types = get_types_from_msg(text, connection.msgtype)
                else:
                    types = {}
                    for part in text.split(IDL_SEPARATOR):
                        types.update(get_types_from_idl(part.split("\n", 1)[-1]))
                typestore.register({name: one for name, one in types.items() if name not in typestore.types})
        except Exception as error:
            raise self._unreadable(error) from error
        return typestore

    def _unreadable(self, error: Exception) -> BagError:
        return BagError(f"{self.path}: cannot be read, it is truncated or no rosbag2 ({error})")


class BagWriter:
    """A new rosbag2 that copies another one's topics and adds some. Made by `new_bag`."""

    def __init__(self, writer: Writer, source: BagReader) -> None:
        self._writer = writer
        self._typestore = source.typestore
        self._extras = source.extras()
        self._copies: dict[int, Connection] = {}
        known: dict[tuple[str, str, str], Connection] = {}
        for connection in source.connections:
            key = (connection.topic, connection.msgtype, repr(connection.ext))
            if key not in known:
                known[key] = self._copy(connection)
            self._copies[connection.id] = known[key]

    def add_topic(self, topic: str, msgtype: str) -> Connection:
        """A topic that the source lacks."""
        return self._writer.add_connection(
            topic, msgtype, typestore=self._typestore, offered_qos_profiles=[OFFERED_QOS]
        )

    def copy(self, connection: Connection, timestamp: int, data: bytes) -> None:
        """A message of the source, as it is."""
        extra = self._extras.take(connection, timestamp) if self._extras else None
        self._write(self._copies[connection.id], timestamp, data, extra)

    def add(self, connection: Connection, timestamp: int, message: Any) -> None:
        """A message object of rosbags, on an added topic."""
        self._write(connection, timestamp, self._typestore.serialize_cdr(message, connection.msgtype))

    def _write(
        self, connection: Connection, timestamp: int, data: bytes | memoryview, extra: Extra | None = None
    ) -> None:
        if isinstance(self._writer.storage, McapWriterWithExtras):
            self._writer.storage.extra = extra
        self._writer.write(connection, timestamp, data)

    def _copy(self, connection: Connection) -> Connection:
        definition, digest = connection.msgdef.data, connection.digest
        if connection.msgtype in self._typestore.types:
            definition = definition or self._typestore.generate_msgdef(connection.msgtype, ros_version=2)[0]
            digest = digest or self._typestore.hash_rihs01(connection.msgtype)
        ext: Any = connection.ext
        return self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=definition,
            rihs01=digest or UNKNOWN_HASH,
            serialization_format=ext.serialization_format,
            offered_qos_profiles=ext.offered_qos_profiles,
        )


@contextmanager
def new_bag(
    path: Path, source: BagReader, storage: StoragePlugin, compression: CompressionMode
) -> Iterator[BagWriter]:
    """Write the bag `path` all or nothing.

    It grows in the folder `path`.partial beside it and is renamed when it is whole. An error or Ctrl-C
    removes that folder; what a killed run left in it is removed by the next one.

    Raises:
        BagError: `path` exists, another process is writing it, or the disk does not take it.
    """
    validate_existing(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with _alone_in(partial):
            writer = _Writer(partial / path.name, version=8, storage_plugin=storage)
            if compression != CompressionMode.NONE:
                writer.set_compression(compression, CompressionFormat.ZSTD)
            for key, value in source.custom_data.items():
                writer.set_custom_data(key, value)
            with writer:
                yield BagWriter(writer, source)
            validate_existing(path)
            (partial / path.name).rename(path)
    except (OSError, sqlite3.Error, WriterError) as error:
        raise BagError(f"{path}: cannot be written ({error})") from error


def compression_for(storage: StoragePlugin, recorded: CompressionMode, zstd: bool) -> CompressionMode:
    """How to compress a new bag: as the recorded one, or with zstd in any case; only mcap compresses inside."""
    inside = CompressionMode.STORAGE if storage == StoragePlugin.MCAP else CompressionMode.MESSAGE
    if recorded == CompressionMode.STORAGE or (zstd and recorded == CompressionMode.NONE):
        return inside
    return recorded


def validate_existing(path: Path) -> None:
    """BagError if there is anything at `path`."""
    if path.exists() or path.is_symlink():
        raise BagError(f"{path} exists and is not overwritten: give another name, or remove it first")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """A folder of this process alone, empty at the start and gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagError(f"{folder}: another process is writing this bag: wait for it to finish") from None
        for left_over in folder.iterdir():
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
        try:
            yield
        finally:
            shutil.rmtree(folder)
    finally:
        os.close(handle)
