"""Read and write rosbag2 folders and files through rosbags.

Every read error is a BagError; a new bag appears only when it is complete. Needs no ROS
installation. Imports nothing of this package but its errors and `bag.mcap`.
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

    from hand_depth_ros.bag.mcap import McapWriterWithMeta, MessageMeta, MessageMetaQueue
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
"""QoS of the node's publishers, recorded with the added topics."""


class _Writer(Writer):
    """rosbags' writer with our mcap storage."""

    STORAGE_PLUGINS = {**Writer.STORAGE_PLUGINS, StoragePlugin.MCAP: McapWriterWithMeta}  # noqa: RUF012


class BagReader:
    """Reader of a rosbag2 folder, or of one .db3 or .mcap file; every problem is a BagError."""

    def __init__(self, path: Path) -> None:
        """Remember the path; the bag is opened on entering the context."""
        self.path = path

    def __enter__(self) -> BagReader:
        """Open the bag."""
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

    def message_meta(self) -> MessageMetaQueue | None:
        """Return sequence numbers and publish times; None unless the bag is mcap."""
        if self.storage != StoragePlugin.MCAP:
            return None
        try:
            return MessageMetaQueue(self._storages())
        except Exception as error:
            raise self._unreadable(error) from error

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self._reader.close()

    @property
    def connections(self) -> list[Connection]:
        """Recorded topics, one connection for each topic, type and QoS."""
        return self._reader.connections

    @property
    def message_count(self) -> int:
        """Number of recorded messages."""
        return self._reader.message_count

    @property
    def storage(self) -> StoragePlugin:
        """Storage plugin that wrote the bag."""
        return StoragePlugin.MCAP if isinstance(self._storages()[0], McapReader) else StoragePlugin.SQLITE3

    @property
    def compression(self) -> CompressionMode:
        """Compression of the bag: none, by file, by message, or inside mcap (STORAGE)."""
        mode = self._reader.compression_mode
        if mode:
            return CompressionMode[mode.upper()]
        chunks = [chunk for storage in self._storages() for chunk in getattr(storage, "chunks", ())]
        return CompressionMode.STORAGE if any(c.compression for c in chunks) else CompressionMode.NONE

    @property
    def custom_data(self) -> dict[str, str]:
        """Key-value pairs of metadata.yaml."""
        return dict(self._reader.storage.metadata.custom or {})

    def messages(self, connections: Collection[Connection] = ()) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time (ns) and serialised message, in order of time."""
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
        """Return a message as an object with its fields; BagError if the bytes do not parse."""
        try:
            return self.typestore.deserialize_cdr(data, connection.msgtype)
        except Exception as error:
            raise BagError(
                f"a message on {connection.topic} is not a valid {connection.msgtype}: {error}"
            ) from error

    def _storages(self) -> list[Any]:
        return getattr(self._reader.storage, "storages", [self._reader.storage])

    def _typestore(self) -> Typestore:
        """Return the message types of Jazzy plus those that the bag defines itself."""
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
        return BagError(f"{self.path}: cannot be read; it is truncated or not a rosbag2 ({error})")


class BagWriter:
    """Write a rosbag2 that copies the topics of another one and adds some. Made by `new_bag`."""

    def __init__(self, writer: Writer, source: BagReader) -> None:
        """Create the copied topics."""
        self._writer = writer
        self._typestore = source.typestore
        self._meta = source.message_meta()
        self._copies: dict[int, Connection] = {}
        known: dict[tuple[str, str, str], Connection] = {}
        for connection in source.connections:
            key = (connection.topic, connection.msgtype, repr(connection.ext))
            if key not in known:
                known[key] = self._copy(connection)
            self._copies[connection.id] = known[key]

    def add_topic(self, topic: str, msgtype: str) -> Connection:
        """Add a topic that the source lacks."""
        return self._writer.add_connection(
            topic, msgtype, typestore=self._typestore, offered_qos_profiles=[OFFERED_QOS]
        )

    def copy(self, connection: Connection, timestamp: int, data: bytes) -> None:
        """Copy a message of the source unchanged."""
        meta = self._meta.take(connection, timestamp) if self._meta else None
        self._write(self._copies[connection.id], timestamp, data, meta)

    def add(self, connection: Connection, timestamp: int, message: Any) -> None:
        """Write a message object of rosbags on an added topic."""
        self._write(connection, timestamp, self._typestore.serialize_cdr(message, connection.msgtype))

    def _write(
        self,
        connection: Connection,
        timestamp: int,
        data: bytes | memoryview,
        meta: MessageMeta | None = None,
    ) -> None:
        if isinstance(self._writer.storage, McapWriterWithMeta):
            self._writer.storage.meta = meta
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
    """Write the bag `path` completely or not at all.

    The bag is written in the folder `path`.partial beside it and renamed when complete. An error or
    Ctrl-C removes that folder; the next run removes what a killed one left behind.

    Raises:
        BagError: `path` exists, another process is writing it, or the disk refuses it.
    """
    validate_new_path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with _exclusive_folder(partial):
            writer = _Writer(partial / path.name, version=8, storage_plugin=storage)
            if compression != CompressionMode.NONE:
                writer.set_compression(compression, CompressionFormat.ZSTD)
            for key, value in source.custom_data.items():
                writer.set_custom_data(key, value)
            with writer:
                yield BagWriter(writer, source)
            validate_new_path(path)
            (partial / path.name).rename(path)
    except (OSError, sqlite3.Error, WriterError) as error:
        raise BagError(f"{path}: cannot be written ({error})") from error


def compression_for(storage: StoragePlugin, recorded: CompressionMode, zstd: bool) -> CompressionMode:
    """Return the compression of a new bag: that of the recorded one, or zstd if asked for.

    STORAGE compression exists in mcap only; sqlite3 compresses by message instead.
    """
    inside = CompressionMode.STORAGE if storage == StoragePlugin.MCAP else CompressionMode.MESSAGE
    if recorded == CompressionMode.STORAGE or (zstd and recorded == CompressionMode.NONE):
        return inside
    return recorded


def validate_new_path(path: Path) -> None:
    """Raise BagError if `path` exists."""
    if path.exists() or path.is_symlink():
        raise BagError(f"{path} exists and is not overwritten: give another name, or remove it first")


def find_topic(reader: BagReader, name: str, msgtypes: tuple[str, ...], option: str) -> str:
    """Return the absolute name of a topic that has one of these types.

    Raises:
        BagError: There is no such topic; lists those that would fit `option`.
    """
    name = name if name.startswith("/") else f"/{name}"
    if any(c.topic == name and c.msgtype in msgtypes for c in reader.connections):
        return name
    found = next((c.msgtype for c in reader.connections if c.topic == name), None)
    problem = f"{name} is {found}, not {' or '.join(msgtypes)}" if found else f"the bag has no topic {name}"
    fitting = sorted({c.topic for c in reader.connections if c.msgtype in msgtypes})
    choice = f"give {option} one of {', '.join(fitting)}" if fitting else f"it has no {' or '.join(msgtypes)}"
    raise BagError(f"{problem}: {choice}")


@contextmanager
def _exclusive_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, empty at first; remove it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagError(f"{folder}: another process is writing this bag: wait for it to finish") from None
        for leftover in folder.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            yield
        finally:
            shutil.rmtree(folder)
    finally:
        os.close(handle)
