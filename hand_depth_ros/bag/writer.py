"""Write a rosbag2 that copies another one and adds topics, completely or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hand_depth_ros.bag.reader import BagReader, RecordedMessage, RecordedTopic, zstd
from hand_depth_ros.errors import BagError

# isort: split
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2.errors import WriterError

from hand_depth_ros.bag import metadata
from hand_depth_ros.bag.storages import QOS_KEY, UNKNOWN_HASH, McapStorage, Sqlite3Storage

FOREVER = QosTime(9223372036, 854775807)

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


class BagWriter:
    """Writer of one bag folder: the topics of a source, and added ones. Made by `new_bag`."""

    def __init__(self, folder: Path, source: BagReader, storage: str, compression: str) -> None:
        """Create the folder and the copied topics.

        Args:
            folder: Of the new bag; must not exist.
            source: The bag that is copied.
            storage: "mcap" or "sqlite3".
            compression: "", "file", "message", or "storage" (mcap only).

        Raises:
            BagError: The source holds what this storage cannot: attachments, topics that are not
                ROS 2's.
        """
        if storage == "sqlite3":
            _validate_for_sqlite3(source)
        self._source, self._storage_name, self._compression = source, storage, compression
        self._typestore = source.typestore
        folder.mkdir(parents=True)
        self._folder = folder
        self._storage: McapStorage | Sqlite3Storage = (
            McapStorage(folder, compression == "storage") if storage == "mcap" else Sqlite3Storage(folder)
        )
        self._numbers: dict[RecordedTopic, int] = {}
        self._profiles: dict[RecordedTopic, list[Qos]] = {}
        self._start, self._end = 2**63 - 1, 0
        self.counts: Counter[RecordedTopic] = Counter()
        for topic in source.connections:
            self._define(topic, _profiles_of(topic))
        if isinstance(self._storage, McapStorage):
            for content in source.attachments:
                self._storage.writer.add_attachment(content)
            for content in source.metadata_records:
                self._storage.writer.add_metadata(content)

    def add_topic(self, topic: str, msgtype: str) -> RecordedTopic:
        """Add a topic that the source lacks."""
        added = RecordedTopic(
            topic,
            msgtype,
            definition=self._typestore.generate_msgdef(msgtype, ros_version=2)[0],
            type_hash=self._typestore.hash_rihs01(msgtype),
        )
        self._define(added, [OFFERED_QOS])
        return added

    def copy(self, message: RecordedMessage) -> None:
        """Copy a message of the source unchanged."""
        self._write(message)

    def add(self, topic: RecordedTopic, timestamp: int, message: Any) -> None:
        """Write a message object of rosbags on an added topic."""
        data = bytes(self._typestore.serialize_cdr(message, topic.msgtype))
        self._write(RecordedMessage(topic, timestamp, data))

    def close(self) -> None:
        """Finish the bag and write its metadata.yaml."""
        path = self._storage.path
        file_name = f"{path.name}.zstd" if self._compression == "file" else path.name
        information = self._information(file_name)
        self._storage.close(metadata.dump_metadata(information, root=False).strip())
        if self._compression == "file":
            with path.open("rb") as plain, zstd.open(path.with_name(file_name), "wb") as packed:
                shutil.copyfileobj(plain, packed)
            path.unlink()
        text = metadata.dump_metadata(information, root=True)
        (self._folder / metadata.FILE_NAME).write_text(text, encoding="utf-8")

    def abort(self) -> None:
        """Close the files unfinished."""
        self._storage.abort()

    def _define(self, topic: RecordedTopic, profiles: list[Qos]) -> None:
        self._numbers[topic] = self._storage.define(topic, self._definition(topic), profiles)
        self._profiles[topic] = profiles
        self.counts[topic] = 0

    def _definition(self, topic: RecordedTopic) -> str:
        if topic.definition or not topic.is_ros2 or topic.msgtype not in self._typestore.types:
            return topic.definition
        return str(self._typestore.generate_msgdef(topic.msgtype, ros_version=2)[0])

    def _write(self, message: RecordedMessage) -> None:
        topic, timestamp = message.connection, message.timestamp
        if self._compression == "message":
            message = message._replace(data=zstd.compress(message.data))
        self._storage.write(self._numbers[topic], message)
        self.counts[topic] += 1
        self._start, self._end = min(self._start, timestamp), max(self._end, timestamp)

    def _information(self, file_name: str) -> dict[str, Any]:
        """Return the content of metadata.yaml; topics that are not ROS 2's are not listed there."""
        topics = [
            {
                "topic_metadata": {
                    "name": topic.topic,
                    "type": topic.msgtype,
                    "serialization_format": topic.encoding,
                    QOS_KEY: metadata.dump_profiles(self._profiles[topic]),
                    "type_description_hash": self._hash(topic),
                },
                "message_count": count,
            }
            for topic, count in self.counts.items()
            if topic.is_ros2
        ]
        count = sum(int(topic["message_count"]) for topic in topics)  # type: ignore[call-overload]
        listed = self._compression if self._compression in ("file", "message") else ""
        start = {"nanoseconds_since_epoch": self._start}
        duration = {"nanoseconds": max(0, self._end - self._start)}
        file = {"path": file_name, "starting_time": start, "duration": duration, "message_count": count}
        return {
            "version": metadata.VERSION,
            "storage_identifier": self._storage_name,
            "relative_file_paths": [file_name],
            "duration": dict(duration),
            "starting_time": dict(start),
            "message_count": count,
            "topics_with_message_count": topics,
            "compression_format": "zstd" if listed else "",
            "compression_mode": listed,
            "files": [file],
            "custom_data": self._source.custom_data or None,
            "ros_distro": "rosbags",
        }

    def _hash(self, topic: RecordedTopic) -> str:
        if topic.type_hash or topic.msgtype not in self._typestore.types:
            return topic.type_hash or UNKNOWN_HASH
        return str(self._typestore.hash_rihs01(topic.msgtype))


@contextmanager
def new_bag(path: Path, source: BagReader, storage: str, compression: str) -> Iterator[BagWriter]:
    """Write the bag `path` completely or not at all.

    The bag is written in the folder `path`.partial beside it, read again and counted against the
    source, and renamed when it is complete. An error or Ctrl-C removes that folder; the next run
    removes what a killed one left behind.

    Raises:
        BagError: `path` exists, another process is writing it, the disk refuses it, or a message of
            the source is not in it.
    """
    validate_new_path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with _exclusive_folder(partial):
            folder = partial / path.name
            writer = BagWriter(folder, source, storage, compression)
            try:
                yield writer
                writer.close()
            except BaseException:
                with suppress(Exception):  # the error that led here is the one to report
                    writer.abort()
                raise
            _validate_complete(source, writer, folder)
            validate_new_path(path)
            folder.rename(path)
    except (OSError, sqlite3.Error, WriterError) as error:
        raise BagError(f"{path}: cannot be written ({error})") from error


def compression_for(storage: str, recorded: str, zstd: bool) -> str:
    """Return the compression of a new bag: that of the recorded one, or zstd if asked for.

    "storage" compression exists in mcap only; sqlite3 compresses by message instead.
    """
    inside = "storage" if storage == "mcap" else "message"
    if recorded == "storage" or (zstd and not recorded):
        return inside
    return recorded


def validate_new_path(path: Path) -> None:
    """Raise BagError if `path` exists."""
    if path.exists() or path.is_symlink():
        raise BagError(f"{path} exists and is not overwritten: give another name, or remove it first")


def _validate_complete(source: BagReader, writer: BagWriter, folder: Path) -> None:
    """Raise BagError unless the new bag holds every message and record of the source."""
    expected = _count_by_topic(source.counts())
    added = {topic: count for topic, count in writer.counts.items() if topic not in source.connections}
    expected.update(_count_by_topic(Counter(added)))
    with BagReader(folder) as written:
        found = _count_by_topic(written.counts())
        records = (written.attachments, written.metadata_records)
    differences = [
        f"{topic}: {found[topic]} of {expected[topic]} messages"
        for topic in sorted(expected | found)
        if found[topic] != expected[topic]
    ]
    names = ("attachments", "metadata records")
    for name, new, old in zip(names, records, (source.attachments, source.metadata_records), strict=True):
        if sorted(new) != sorted(old):
            differences.append(f"{name}: {len(new)} of {len(old)}")
    if differences:
        raise BagError(
            f"{source.path}: the new bag differs, so it was not kept ({'; '.join(differences)}): "
            "this is a bug, please report it with this line"
        )


def _count_by_topic(counts: Counter[RecordedTopic]) -> Counter[str]:
    by_name: Counter[str] = Counter()
    for topic, count in counts.items():
        by_name[topic.topic] += count
    return by_name


def _profiles_of(topic: RecordedTopic) -> list[Qos]:
    """Return the QoS profiles to write: those of metadata.yaml, else those of the storage file."""
    listed = None if topic.metadata_qos is None else metadata.parse_profiles(topic.metadata_qos)
    if listed is None:
        listed = metadata.parse_profiles(topic.qos)
    return listed or []


def _validate_for_sqlite3(source: BagReader) -> None:
    """Raise BagError if the source holds what sqlite3 bags cannot."""
    held = [f"topic {topic.topic} ({topic.encoding})" for topic in source.connections if not topic.is_ros2]
    held += ["attachments"] * bool(source.attachments)
    held += ["metadata records"] * bool(source.metadata_records)
    if held and source.storage == "mcap":
        raise BagError(
            f"{source.path}: sqlite3 cannot hold its {', '.join(held)}: leave out --storage sqlite3"
        )


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
