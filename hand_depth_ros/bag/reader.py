"""Read a rosbag2 folder or storage file; needs no ROS. Every problem with it is a BagError.

Messages are found by what the storage files hold. metadata.yaml adds compression, QoS and custom
data; where it disagrees with the files, the files are right.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hand_depth_ros.errors import BagError, MissingDependencyError, counted

try:
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
    from rosbags.typesys.store import Typestore

    from hand_depth_ros.bag import mcap_records, sqlite3_reader
    from hand_depth_ros.bag.advice import STORAGE_SUFFIXES, missing_metadata_advice, ros1_advice
    from hand_depth_ros.bag.mcap_reader import McapFile
    from hand_depth_ros.bag.metadata import FILE_NAME, BagMetadata, ListedTopic, read_metadata
    from hand_depth_ros.bag.recorded import IDL_HEADER, RecordedMessage, RecordedTopic
    from hand_depth_ros.bag.sqlite3_reader import Sqlite3File

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError as error:
    raise MissingDependencyError.for_extra("bag", "rosbags") from error

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ROSBAG1_MAGIC = b"#ROSBAG V"
IDL_SEPARATOR = IDL_HEADER.split("\n", 1)[0] + "\n"

StorageFile = McapFile | Sqlite3File


class BagReader:
    """Context manager that reads a rosbag2 folder, or one of its .db3 or .mcap files.

    Attributes:
        connections: Recorded topics, one for each name and type, whatever their QoS.
        notes: What the user should know about the bag, one line each.
        typestore: Message types of Jazzy and those that the bag defines.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; the bag is opened on entering the context."""
        self.path = path
        self.connections: list[RecordedTopic] = []
        self.notes: list[str] = []
        self._files: list[StorageFile] = []
        self._merged: dict[RecordedTopic, RecordedTopic] = {}  # topic of a file -> topic of the bag
        self._metadata: BagMetadata | None = None
        self._compression = ""
        self._stack = ExitStack()

    def __enter__(self) -> BagReader:
        """Open the bag."""
        try:
            self._open()
        except BagError:
            self._stack.close()
            raise
        except OSError as error:
            self._stack.close()
            raise BagError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        except Exception as error:
            self._stack.close()
            raise self._unreadable(error) from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self._stack.close()

    @property
    def message_count(self) -> int:
        """Number of recorded messages."""
        return sum(self.counts().values())

    @property
    def storage(self) -> str:
        """Storage plugin of the bag, "mcap" or "sqlite3"."""
        return "mcap" if isinstance(self._files[0], McapFile) else "sqlite3"

    @property
    def compression(self) -> str:
        """Compression of the bag: "", "file", "message", or "storage" (inside mcap)."""
        if self._compression:
            return self._compression
        inside = any(isinstance(file, McapFile) and file.is_compressed for file in self._files)
        return "storage" if inside else ""

    @property
    def custom_data(self) -> dict[str, str]:
        """Key-value pairs of metadata.yaml."""
        return dict(self._metadata.custom_data) if self._metadata else {}

    @property
    def attachments(self) -> list[bytes]:
        """Contents of the attachment records of mcap files."""
        return [one for file in self._files if isinstance(file, McapFile) for one in file.attachments]

    @property
    def metadata_records(self) -> list[bytes]:
        """Contents of the metadata records of mcap files, but for rosbag2's own."""
        return [one for file in self._files if isinstance(file, McapFile) for one in file.metadata]

    def counts(self) -> Counter[RecordedTopic]:
        """Return the number of messages of each topic, counted in the storage files."""
        counts: Counter[RecordedTopic] = Counter(dict.fromkeys(self.connections, 0))
        for file in self._files:
            for topic, count in file.counts().items():
                counts[self._merged[topic]] += count
        return counts

    def messages(self, connections: Collection[RecordedTopic] = ()) -> Iterator[RecordedMessage]:
        """Yield the messages of these topics (none: of all), file by file in order of time."""
        wanted = set(connections or self.connections)
        for file in self._files:
            topics = {topic for topic in file.topics.values() if self._merged[topic] in wanted}
            messages = file.messages(topics)
            while True:
                try:
                    message = next(messages, None)
                    if message is None:
                        break
                    data = message.data
                    if self._compression == "message":
                        data = zstd.decompress(data)
                except Exception as error:
                    raise self._unreadable(error) from error
                yield message._replace(connection=self._merged[message.connection], data=data)

    def read(self, connection: RecordedTopic, data: bytes) -> Any:
        """Return a message as an object with its fields; BagError if the bytes do not parse."""
        try:
            return self.typestore.deserialize_cdr(data, connection.msgtype)
        except Exception as error:
            raise BagError(
                f"a message on {connection.topic} is not a valid {connection.msgtype}: {error}"
            ) from error

    def _open(self) -> None:
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag")
        if self.path.is_dir():
            if not (self.path / FILE_NAME).exists():
                raise BagError(missing_metadata_advice(self.path))
            self._metadata = read_metadata(self.path)
            paths = [self.path / name for name in self._metadata.files]
            if missing := [path.name for path in paths if not path.exists()]:
                raise BagError(
                    f"{self.path}: {', '.join(missing)} missing, which {FILE_NAME} lists: copy the bag again, "
                    "or give the .db3 or .mcap files that are there one by one"
                )
            if not paths:
                raise BagError(f"{self.path}: {FILE_NAME} lists no storage file")
            if unlisted := _unlisted_files(self.path, self._metadata.files):
                self.notes.append(
                    f"{self.path}: {FILE_NAME} does not list {', '.join(unlisted)}, so it is not read: to add it, "
                    f"run  ros2 bag reindex {self.path}"
                )
        else:
            paths = [self.path]
        for path in paths:
            file = self._open_file(path)
            self._files.append(file)
            self._stack.callback(file.close)
        self._merge_topics()
        self._compression = self._metadata.compression if self._metadata else self._detect_compression()
        self._check_complete()
        self.typestore = self._make_typestore()

    def _open_file(self, path: Path) -> StorageFile:
        """Open a storage file by what it begins with, decompressing it first if need be."""
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith(ZSTD_MAGIC):
                folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="hand_depth_bag_")))
                plain = folder / path.name.removesuffix(".zstd")
                file.seek(0)
                with zstd.open(file, "rb") as packed, plain.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                path = plain
                with plain.open("rb") as unpacked_file:
                    head = unpacked_file.read(16)
        if head.startswith(ROSBAG1_MAGIC):
            raise BagError(ros1_advice(self.path, self.path))
        if head.startswith(mcap_records.MAGIC):
            return McapFile(path)
        if head == sqlite3_reader.MAGIC or _has_log(path):
            return Sqlite3File(path)
        raise BagError(
            f"{self.path}: {path.name} is "
            + ("not a .db3 or .mcap file of a rosbag2: copy it again" if head else "empty: copy it again")
        )

    def _merge_topics(self) -> None:
        """Make one connection of equal topics of the files, in the order of metadata.yaml."""
        listed = list(self._metadata.topics) if self._metadata else []
        by_key: dict[object, RecordedTopic] = {}
        for file in self._files:
            for topic in file.topics.values():
                known = by_key.setdefault(_key(topic), _with_metadata(topic, listed))
                if topic.definition and not known.definition:
                    by_key[_key(topic)] = replace(known, definition=topic.definition)
        self._merged = {topic: by_key[_key(topic)] for file in self._files for topic in file.topics.values()}
        order = {(one.name, one.msgtype): index for index, one in enumerate(listed)}
        self.connections = sorted(
            by_key.values(), key=lambda topic: order.get((topic.topic, topic.msgtype), len(order))
        )

    def _detect_compression(self) -> str:
        """Return "message" if messages are compressed one by one, without metadata.yaml."""
        for file in self._files:
            topics = {topic for topic in file.topics.values() if topic.is_ros2}
            for message in file.messages(topics):
                return "message" if message.data.startswith(ZSTD_MAGIC) else ""
        return ""

    def _check_complete(self) -> None:
        """Note what a killed recording lacks; BagError if a finished one was cut later."""
        held: Counter[tuple[str, str]] = Counter()
        for topic, count in self.counts().items():
            held[topic.topic, topic.msgtype] += count
        listed = self._metadata.topics if self._metadata else ()
        short = [one for one in listed if one.count > held[one.name, one.msgtype]]
        cut = [file for file in self._files if isinstance(file, McapFile) and file.cut_at is not None]
        for file in cut:
            recover = f"mcap recover {file.path} -o recovered.mcap"
            if short or not held.total():
                lost = ", ".join(f"{one.name}: {held[one.name, one.msgtype]} of {one.count}" for one in short)
                raise BagError(
                    f"{self.path}: {file.path.name} is truncated at byte {file.cut_at}, messages are missing"
                    + (f" ({lost})" if lost else "")
                    + f": copy the file again, or save what is readable:  {recover}"
                )
            count = sum(file.counts().values())
            self.notes.append(
                f"{file.path}: the recording was not closed; all {counted(count, 'message')} up to byte "
                f"{file.cut_at} are read (to repair the file:  {recover})"
            )
        self.notes += [
            f"{self.path}: {FILE_NAME} lists {counted(one.count, 'message')} of {one.name}, the files hold "
            f"{held[one.name, one.msgtype]}: these are read"
            for one in short
        ]

    def _make_typestore(self) -> Typestore:
        """Return the message types of Jazzy plus those that the bag defines itself."""
        typestore = get_typestore(Stores.ROS2_JAZZY)
        for topic in self.connections:
            if not topic.is_ros2 or not topic.definition or topic.msgtype in typestore.types:
                continue
            try:
                types = _parse_definition(topic.definition, topic.msgtype)
                typestore.register({name: one for name, one in types.items() if name not in typestore.types})
            except Exception:  # of any type: copying messages does not need their definition
                continue
        return typestore

    def _unreadable(self, error: Exception) -> BagError:
        if isinstance(error, BagError):
            return error
        return BagError(
            f"{self.path}: cannot be read; it is truncated or not a rosbag2 ({error}): copy it again"
        )


def find_topic(reader: BagReader, name: str, msgtypes: tuple[str, ...], option: str) -> str:
    """Return the absolute name of a topic that has one of these types.

    Raises:
        BagError: There is no such topic; lists those that would fit `option`.
    """
    name = name if name.startswith("/") else f"/{name}"
    topics = [topic for topic in reader.connections if topic.is_ros2]
    if any(topic.topic == name and topic.msgtype in msgtypes for topic in topics):
        return name
    if any(topic.encoding == "ros1" for topic in reader.connections):
        raise BagError(ros1_advice(reader.path, Path("FILE.bag")))
    found = next((topic for topic in reader.connections if topic.topic == name), None)
    problem = f"the bag has no topic {name}"
    if found is not None:
        problem = f"{name} is {found.msgtype or found.encoding}, not {' or '.join(msgtypes)}"
        if not found.is_ros2 and found.msgtype:
            problem = f"{name} is {found.msgtype} in {found.encoding}, not {' or '.join(msgtypes)} of ROS 2"
    fitting = sorted({topic.topic for topic in topics if topic.msgtype in msgtypes})
    choice = f"give {option} one of {', '.join(fitting)}" if fitting else f"it has no {' or '.join(msgtypes)}"
    raise BagError(f"{problem}: {choice}")


def _key(topic: RecordedTopic) -> object:
    """Return what two topics have in common if they are one topic. QoS is not part of it."""
    if topic.channel is None:
        return topic.topic, topic.msgtype, topic.encoding
    if topic.is_ros2:
        return topic.topic, topic.channel.schema
    return topic.channel


def _with_metadata(topic: RecordedTopic, listed: list[ListedTopic]) -> RecordedTopic:
    """Return the topic with what metadata.yaml knows of it."""
    for one in listed:
        if (one.name, one.msgtype) == (topic.topic, topic.msgtype):
            return replace(topic, metadata_qos=one.qos, type_hash=one.type_hash or topic.type_hash)
    return topic


def _parse_definition(text: str, msgtype: str) -> dict[str, Any]:
    if not text.startswith(IDL_HEADER):
        return dict(get_types_from_msg(text, msgtype))
    types: dict[str, Any] = {}
    for part in text.split(IDL_SEPARATOR):
        types.update(get_types_from_idl(part.split("\n", 1)[-1]))
    return types


def _unlisted_files(folder: Path, listed: Collection[str]) -> list[str]:
    """Return storage files of the folder that are not among the listed ones.

    The decompressed copy of a listed file, which `ros2 bag play` leaves, is not one.
    """
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name.endswith(STORAGE_SUFFIXES)
        and path.name not in listed
        and f"{path.name}.zstd" not in listed
    )


def _has_log(path: Path) -> bool:
    """Return whether sqlite3 left a log beside the file, which itself may be empty."""
    return any(
        Path(f"{path}{suffix}").exists() and Path(f"{path}{suffix}").stat().st_size
        for suffix in sqlite3_reader.LOGS
    )
