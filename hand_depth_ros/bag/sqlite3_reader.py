"""Read a sqlite3 file of rosbag2, with the write-ahead log that a killed recorder leaves."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from hand_depth_ros.bag.recorded import RecordedMessage, RecordedTopic
from hand_depth_ros.errors import BagError

MAGIC = b"SQLite format 3\0"
LOGS = ("-wal", "-journal")
"""Suffixes of the files in which sqlite3 keeps what is not in the main file yet."""


class Sqlite3File:
    """A .db3 file of any schema version.

    With a log beside it, a temporary copy is read: sqlite3 would write into the original.

    Attributes:
        topics: Recorded topics by their number in the file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            BagError: It is not the file of a rosbag2.
            sqlite3.Error: It is damaged.
        """
        self.path = path
        self.topics: dict[int, RecordedTopic] = {}
        self._stack = ExitStack()
        try:
            self._database = self._open()
            self._stack.callback(self._database.close)
            self._read_topics()
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Close the file and remove the copy."""
        self._stack.close()

    def counts(self) -> Counter[RecordedTopic]:
        """Return the number of messages of each topic."""
        counted = self._database.execute("SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id")
        counts: Counter[RecordedTopic] = Counter(dict.fromkeys(self.topics.values(), 0))
        for number, count in counted:
            if number not in self.topics:
                raise BagError(
                    f"{self.path}: {count} messages belong to topic number {number}, which the file does "
                    "not name: they cannot be copied"
                )
            counts[self.topics[number]] += count
        return counts

    def messages(self, topics: Collection[RecordedTopic]) -> Iterator[RecordedMessage]:
        """Yield the messages of these topics in order of receive time."""
        wanted = [number for number, topic in self.topics.items() if topic in topics]
        rows = self._database.execute(
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({','.join('?' * len(wanted))}) ORDER BY timestamp, id",
            wanted,
        )
        for number, timestamp, data in rows:
            yield RecordedMessage(self.topics[number], timestamp, data)

    def _open(self) -> sqlite3.Connection:
        logs = [log for suffix in LOGS if (log := Path(f"{self.path}{suffix}")).exists()]
        if not any(log.stat().st_size for log in logs):
            uri = f"file:{quote(str(self.path.absolute()))}?mode=ro&immutable=1"
            return sqlite3.connect(uri, uri=True)
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="hand_depth_bag_")))
        for file in (self.path, *logs):
            shutil.copyfile(file, folder / file.name)
        return sqlite3.connect(folder / self.path.name)

    def _read_topics(self) -> None:
        tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master")}
        if not {"topics", "messages"} <= tables:
            raise BagError(f"{self.path}: not a rosbag2: it has no tables of topics and messages")
        definitions: dict[str, str] = {}
        if "message_definitions" in tables:
            columns = "topic_type, encoded_message_definition"
            definitions = dict(self._database.execute(f"SELECT {columns} FROM message_definitions"))
        self._database.row_factory = sqlite3.Row
        for row in self._database.execute("SELECT * FROM topics ORDER BY id").fetchall():
            known = row.keys()
            self.topics[row["id"]] = RecordedTopic(
                topic=row["name"],
                msgtype=row["type"],
                encoding=row["serialization_format"],
                definition=definitions.get(row["type"]) or "",
                type_hash=row["type_description_hash"] if "type_description_hash" in known else "",
                qos=row["offered_qos_profiles"] if "offered_qos_profiles" in known else "",
            )
        self._database.row_factory = None
