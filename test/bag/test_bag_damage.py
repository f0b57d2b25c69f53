"""Bags after crashes, edits and other tools: everything is read, or the error says what helps."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags", reason="the bag extra is not installed")
pytest.importorskip("mcap", reason="the mcap library is not installed")

from backports import zstd
from mcap import writer as mcap_writer
from mcap.exceptions import McapError
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader
from rosbags import rosbag1
from rosbags.rosbag2 import CompressionMode, Reader
from rosbags.typesys import Stores, get_typestore
from support import bags
from support.bags import GRIP, IMAGE, IMAGE_TYPE, INFO, INFO_TYPE, Entry
from support.fakes import FakeEstimator

from hand_depth_ros.bag.convert import BagOptions, BagSummary, convert
from hand_depth_ros.errors import BagError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.settings import OutputSettings

WANTED = frozenset({topics.DEPTH_MM, topics.CAMERA_INFO})
ADDED = {f"/{name}" for name in WANTED}
EXTRA = [Entry("/grip", GRIP, bags.START + 5 * n, b"\x00\x01\x00\x00" + bytes([n])) for n in range(4)]
ENTRIES = [*bags.pairs(3), *EXTRA]
STORAGES = pytest.mark.parametrize("storage", ["sqlite3", "mcap"])


def run(source: Path, target: Path, **changes: Any) -> BagSummary:
    options = BagOptions(**{"image": IMAGE, "wanted": WANTED, **changes})
    return convert(source, target, FakeEstimator(), options, OutputSettings())  # type: ignore[arg-type]


def copied(target: Path) -> Counter[tuple[str, int, bytes]]:
    return Counter(message for message in bags.read_messages(target) if message[0] not in ADDED)


def recorded(entries: list[Entry]) -> Counter[tuple[str, int, bytes]]:
    return Counter((entry.topic, entry.time, entry.data) for entry in entries)


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=120)


# F1: metadata.yaml that was edited or written by another tool


def change_durability(qos: Any) -> Any:
    return [{**one, "durability": "transient_local"} for one in qos]


def change_deadline(qos: Any) -> Any:
    return [{**one, "deadline": {"sec": 1, "nsec": 5}} for one in qos]


def as_text(qos: Any) -> Any:
    return "- history: 3\n  depth: 0\n  reliability: 1\n"


@STORAGES
@pytest.mark.parametrize("topic", [IMAGE, INFO, "/grip"])
@pytest.mark.parametrize(
    "change",
    [change_durability, change_deadline, as_text, lambda _: [], lambda _: "nonsense: [", lambda _: 7],
    ids=["durability", "deadline", "text", "none", "not_yaml", "number"],
)
def test_edited_qos_loses_no_message(tmp_path: Path, storage: str, topic: str, change: Any) -> None:
    bags.write_bag(tmp_path / "in", ENTRIES, storage)

    def edit(information: Any) -> None:
        for listed in information["topics_with_message_count"]:
            about = listed["topic_metadata"]
            if about["name"] == topic:
                about["offered_qos_profiles"] = change(about["offered_qos_profiles"])

    bags.edit_metadata(tmp_path / "in", edit)
    run(tmp_path / "in", tmp_path / "out")
    assert copied(tmp_path / "out") == recorded(ENTRIES)
    with Reader(tmp_path / "out") as reader:  # rosbags reads only topics whose QoS is the same everywhere
        read = Counter((c.topic, time, bytes(data)) for c, time, data in reader.messages())
    assert Counter({one: count for one, count in read.items() if one[0] not in ADDED}) == recorded(ENTRIES)


@STORAGES
def test_keeps_the_qos_of_an_edited_metadata_yaml(tmp_path: Path, storage: str) -> None:
    bags.write_bag(tmp_path / "in", ENTRIES, storage)

    def edit(information: Any) -> None:
        for listed in information["topics_with_message_count"]:
            about = listed["topic_metadata"]
            about["offered_qos_profiles"] = change_durability(about["offered_qos_profiles"])

    bags.edit_metadata(tmp_path / "in", edit)
    run(tmp_path / "in", tmp_path / "out")
    with Reader(tmp_path / "out") as reader:
        (kept,) = (c for c in reader.connections if c.topic == "/grip")
        assert kept.ext.offered_qos_profiles == [bags.RELIABLE._replace(durability=bags.LATCHED.durability)]


@STORAGES
def test_reads_topics_that_metadata_yaml_does_not_list(tmp_path: Path, storage: str) -> None:
    bags.write_bag(tmp_path / "in", ENTRIES, storage)

    def edit(information: Any) -> None:
        listed = information["topics_with_message_count"]
        information["topics_with_message_count"] = [
            one for one in listed if one["topic_metadata"]["name"] != "/grip"
        ]
        information["message_count"] = 0

    bags.edit_metadata(tmp_path / "in", edit)
    run(tmp_path / "in", tmp_path / "out")
    assert copied(tmp_path / "out") == recorded(ENTRIES)


@STORAGES
def test_notes_messages_that_metadata_yaml_lists_and_the_files_lack(tmp_path: Path, storage: str) -> None:
    bags.write_bag(tmp_path / "in", ENTRIES, storage)

    def edit(information: Any) -> None:
        for listed in information["topics_with_message_count"]:
            if listed["topic_metadata"]["name"] == "/grip":
                listed["message_count"] = 9

    bags.edit_metadata(tmp_path / "in", edit)
    summary = run(tmp_path / "in", tmp_path / "out")
    (note,) = summary.notes
    assert "lists 9 messages of /grip, the files hold 4" in note
    assert copied(tmp_path / "out") == recorded(ENTRIES)


def test_notes_storage_files_that_metadata_yaml_does_not_list(tmp_path: Path) -> None:
    bags.split_bag(tmp_path / "in", [bags.pairs(1), ENTRIES[2:]])
    bags.edit_metadata(tmp_path / "in", lambda information: information["relative_file_paths"].pop())
    bags.edit_metadata(tmp_path / "in", lambda information: information.update(topics_with_message_count=[]))
    summary = run(tmp_path / "in", tmp_path / "out")
    (note,) = summary.notes
    assert "does not list part1.db3, so it is not read" in note


# F3: what a killed recorder leaves


def with_log(path: Path, entries: list[Entry], kept: int) -> Path:
    """Record `kept` entries into a .db3 and the others only into its log, as after a crash."""
    folder = path.parent.parent
    whole = bags.storage_file(bags.write_bag(folder / "whole", entries[:kept]))
    work = folder / "work.db3"
    work.write_bytes(whole.read_bytes())
    database = sqlite3.connect(work, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    numbers = dict(database.execute("SELECT name, id FROM topics"))
    for entry in entries[kept:]:
        database.execute(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            (numbers[entry.topic], entry.time, entry.data),
        )
    path.parent.mkdir(exist_ok=True)
    shutil.copy(work, path)
    shutil.copy(f"{work}-wal", f"{path}-wal")
    database.close()
    return path


@pytest.mark.parametrize("as_folder", [False, True], ids=["file", "folder"])
def test_reads_messages_in_the_write_ahead_log(tmp_path: Path, as_folder: bool) -> None:
    source = with_log(tmp_path / "in" / "in.db3", bags.pairs(8), 12)
    if as_folder:
        listed = bags.write_bag(tmp_path / "listed", bags.pairs(8)) / "metadata.yaml"
        text = listed.read_text().replace("listed.db3", "in.db3")
        (tmp_path / "in" / "metadata.yaml").write_text(text)
        source = tmp_path / "in"
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    summary = run(source, tmp_path / "out")
    assert summary.frames == 8
    assert copied(tmp_path / "out") == recorded(bags.pairs(8))
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_reads_a_bag_whose_tables_are_only_in_the_write_ahead_log(tmp_path: Path) -> None:
    whole = bags.storage_file(bags.write_bag(tmp_path / "whole", bags.pairs(3)))
    work, source = tmp_path / "work.db3", tmp_path / "in.db3"
    database = sqlite3.connect(work, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    with sqlite3.connect(whole) as old:
        database.executescript("\n".join(old.iterdump()))
    shutil.copy(work, source)
    shutil.copy(f"{work}-wal", f"{source}-wal")
    database.close()
    run(source, tmp_path / "out")
    assert copied(tmp_path / "out") == recorded(bags.pairs(3))


def test_undoes_a_write_that_the_rollback_journal_says_was_unfinished(tmp_path: Path) -> None:
    """A recorder without write-ahead log was killed in the middle of a transaction."""
    source = bags.storage_file(bags.write_bag(tmp_path / "in", bags.pairs(40)))
    code = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA cache_size=1')\n"  # so that pages are written before the commit
        "database.execute('PRAGMA journal_mode=DELETE')\n"
        "database.execute('BEGIN')\n"
        "database.execute('UPDATE messages SET data = zeroblob(length(data))')\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(source)], check=False)
    assert Path(f"{source}-journal").stat().st_size
    before = {path.name: path.read_bytes() for path in source.parent.iterdir()}
    run(source, tmp_path / "out")
    assert copied(tmp_path / "out") == recorded(bags.pairs(40))
    assert {path.name: path.read_bytes() for path in source.parent.iterdir()} == before


@STORAGES
def test_paths_may_have_special_characters(tmp_path: Path, storage: str) -> None:
    folder = tmp_path / "a b#c%20?ü"
    folder.mkdir()
    bags.write_bag(tmp_path / "in", ENTRIES, storage).rename(folder / "in")
    run(folder / "in", folder / "out%41#")
    assert copied(folder / "out%41#") == recorded(ENTRIES)
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out%41#"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def write_mcap(path: Path, entries: list[Entry], lost: int | None = None) -> None:
    """Write an mcap file; with `lost`, without index and without that many bytes before it."""
    with path.open("wb") as file:
        writer = mcap_writer.Writer(file, chunk_size=2000)
        writer.start(profile="ros2", library="test")
        channels: dict[str, int] = {}
        for entry in entries:
            if entry.topic not in channels:
                definition = bags.STORE.generate_msgdef(entry.msgtype, ros_version=2)[0].encode()
                schema = writer.register_schema(entry.msgtype, "ros2msg", definition)
                channels[entry.topic] = writer.register_channel(entry.topic, "cdr", schema)
            writer.add_message(channels[entry.topic], entry.time, entry.data, entry.time)
        if lost is None:
            writer.finish()
        else:
            file.truncate(file.tell() - lost)


def whole_messages(path: Path) -> Counter[tuple[str, int, bytes]]:
    """Return the messages that the mcap library reads before the file ends."""
    channels: dict[int, str] = {}
    found = Counter()
    with path.open("rb") as file, suppress(McapError, struct.error):  # it ends somewhere
        for record in StreamReader(file, record_size_limit=None).records:
            if isinstance(record, Channel):
                channels[record.id] = record.topic
            elif isinstance(record, Message):
                found[channels[record.channel_id], record.log_time, record.data] += 1
    return found


@pytest.mark.parametrize("lost", [0, 1, 300])
def test_reads_what_is_whole_of_a_killed_mcap_and_says_so(tmp_path: Path, lost: int) -> None:
    source = tmp_path / "in.mcap"
    write_mcap(source, bags.pairs(20), lost)
    whole = whole_messages(source)
    assert 10 < sum(whole.values()) < 40
    summary = run(source, tmp_path / "out")
    assert copied(tmp_path / "out") == whole
    (note,) = summary.notes
    assert "was not closed" in note and f"mcap recover {source} -o recovered.mcap" in note


def test_reads_a_killed_mcap_that_ends_in_zeros(tmp_path: Path) -> None:
    source = tmp_path / "in.mcap"
    write_mcap(source, bags.pairs(20), 0)
    whole = whole_messages(source)
    source.write_bytes(source.read_bytes() + bytes(5000))
    run(source, tmp_path / "out")
    assert copied(tmp_path / "out") == whole


def test_a_finished_mcap_that_was_cut_is_an_error_that_names_what_is_missing(tmp_path: Path) -> None:
    bags.write_bag(tmp_path / "in", ENTRIES, "mcap")
    file = bags.storage_file(tmp_path / "in")
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(BagError, match=r"truncated at byte .* /grip: 0 of 4.*mcap recover"):
        run(tmp_path / "in", tmp_path / "out")


def test_a_damaged_chunk_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "in.mcap"
    write_mcap(source, ENTRIES)
    data = bytearray(source.read_bytes())
    data[200] ^= 0xFF
    source.write_bytes(data)
    with pytest.raises(BagError, match=r"damaged at byte \d+ of .*mcap recover"):
        run(source, tmp_path / "out")


# Advice that is carried out


def test_the_advice_for_a_ros1_bag_works(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    source = tmp_path / "in.bag"
    with rosbag1.Writer(source) as writer:
        connections = {
            kind: writer.add_connection(topic, kind, typestore=store)
            for topic, kind in ((IMAGE, IMAGE_TYPE), (INFO, INFO_TYPE))
        }
        for number, entry in enumerate(bags.pairs(2)):
            message = bags.STORE.deserialize_cdr(entry.data, entry.msgtype)
            old = message.header
            message.header = store.types["std_msgs/msg/Header"](number, old.stamp, old.frame_id)
            if entry.msgtype == INFO_TYPE:
                fields = {
                    name.upper() if name in "dkrp" else name: value for name, value in vars(message).items()
                }
                message = store.types[INFO_TYPE](
                    **{k: v for k, v in fields.items() if not k.startswith("__")}
                )
            writer.write(connections[entry.msgtype], entry.time, store.serialize_ros1(message, entry.msgtype))
    for given in (source, tmp_path):
        with pytest.raises(BagError, match="ROS 1 recording") as caught:
            run(given, tmp_path / "out")
    command = str(caught.value).split("first:  ")[1].replace("NEW_FOLDER", shlex.quote(str(tmp_path / "new")))
    shell(command.replace("rosbags-convert", str(Path(sys.executable).with_name("rosbags-convert"))))
    assert run(tmp_path / "new", tmp_path / "out").frames == 2


def test_a_ros1_mcap_is_called_so(tmp_path: Path) -> None:
    source = tmp_path / "in.mcap"
    with source.open("wb") as file:
        writer = mcap_writer.Writer(file)
        writer.start(profile="ros1", library="test")
        schema = writer.register_schema("sensor_msgs/Image", "ros1msg", b"uint8[] data")
        channel = writer.register_channel(IMAGE, "ros1", schema)
        writer.add_message(channel, 1, b"", 1)
        writer.finish()
    with pytest.raises(BagError, match=r"ROS 1 recording.*rosbags-convert"):
        run(source, tmp_path / "out")


@STORAGES
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_the_advice_for_a_compressed_bag_without_metadata_works(
    tmp_path: Path, storage: str, mode: CompressionMode
) -> None:
    bags.write_bag(tmp_path / "in", ENTRIES, storage, mode)
    file = bags.storage_file(tmp_path / "in")
    (tmp_path / "in" / "metadata.yaml").unlink()
    with pytest.raises(BagError) as caught:
        run(tmp_path / "in", tmp_path / "out")
    if mode == CompressionMode.FILE:
        assert str(caught.value).endswith(f"decompressed for you: {file}")
    else:
        assert "give the .db3 or .mcap file itself" in str(caught.value)
    run(file, tmp_path / "out")
    assert copied(tmp_path / "out") == recorded(ENTRIES)


def test_a_folder_of_storage_files_that_are_missing_is_an_error(tmp_path: Path) -> None:
    bags.split_bag(tmp_path / "in", [bags.pairs(1), ENTRIES[2:]])
    (tmp_path / "in" / "part1.db3").unlink()
    with pytest.raises(BagError, match=r"part1.db3 missing.*one by one"):
        run(tmp_path / "in", tmp_path / "out")
    assert run(tmp_path / "in" / "part0.db3", tmp_path / "out").frames == 1


# F12: what mcap holds and sqlite3 cannot


def test_foreign_channels_and_attachments_are_not_dropped_for_sqlite3(tmp_path: Path) -> None:
    source = tmp_path / "in.mcap"
    with source.open("wb") as file:
        writer = mcap_writer.Writer(file)
        writer.start(profile="ros2", library="test")
        writer.add_attachment(1, 2, "notes.txt", "text/plain", b"x")
        channel = writer.register_channel("/state", "json", 0)
        writer.add_message(channel, 1, b"{}", 1)
        for entry in bags.pairs(1):
            definition = bags.STORE.generate_msgdef(entry.msgtype, ros_version=2)[0].encode()
            schema = writer.register_schema(entry.msgtype, "ros2msg", definition)
            writer.add_message(writer.register_channel(entry.topic, "cdr", schema), 1, entry.data, 1)
        writer.finish()
    with pytest.raises(BagError, match=r"topic /state \(json\), attachments: leave out --storage sqlite3"):
        run(source, tmp_path / "out", storage="sqlite3")
    assert not (tmp_path / "out").exists()
    run(source, tmp_path / "out")
    with pytest.raises(BagError, match=r"/state is json, not .*--image one of /cam/image_raw"):
        run(source, tmp_path / "other", image="/state")


def test_a_zstd_file_with_garbage_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "in.db3.zstd"
    source.write_bytes(zstd.compress(b"garbage" * 100))
    with pytest.raises(BagError, match=r"in.db3 is not a .db3 or .mcap"):
        run(source, tmp_path / "out")
