"""The bag tool copies every message: random bags, compared with OUT by readers of others."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

pytest.importorskip("rosbags", reason="the bag extra is not installed")
pytest.importorskip("mcap", reason="the mcap library is not installed")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mcap import writer as mcap_writer
from mcap.reader import make_reader
from rosbags.rosbag2 import CompressionMode
from support import bags
from support.bags import GRIP, IMAGE, INFO, Entry
from support.fakes import FakeEstimator

from hand_depth_ros.bag import writer as bag_writer
from hand_depth_ros.bag.convert import BagOptions, BagSummary, convert
from hand_depth_ros.bag.mcap_writer import McapWriter
from hand_depth_ros.bag.reader import BagReader
from hand_depth_ros.errors import BagError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.settings import OutputSettings

WANTED = frozenset({topics.DEPTH_MM, topics.CAMERA_INFO})
ADDED = {f"/{name}" for name in WANTED}
KINDS = (GRIP, "std_msgs/msg/String", "geometry_msgs/msg/Twist", "sensor_msgs/msg/Imu")


def run(source: Path, target: Path, **changes: Any) -> BagSummary:
    options = BagOptions(**{"image": IMAGE, "wanted": WANTED, **changes})
    return convert(source, target, FakeEstimator(), options, OutputSettings())  # type: ignore[arg-type]


def copied(target: Path) -> Counter[tuple[str, int, bytes]]:
    """Return the messages of OUT that were not added."""
    return Counter(message for message in bags.read_messages(target) if message[0] not in ADDED)


@st.composite
def recordings(draw: st.DrawFn) -> list[Entry]:
    """Images with camera_infos among messages of any content on any topics, with equal times."""
    entries = bags.pairs(draw(st.integers(1, 3)))
    times = st.integers(bags.START - 5, bags.START + 5) | st.integers(0, 2**62)
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(KINDS))
        for time, data in draw(st.lists(st.tuples(times, st.binary(max_size=40)), max_size=6)):
            entries.append(Entry(f"/topic_{number}", kind, time, b"\x00\x01\x00\x00" + data))
    return entries


PROFILES = st.lists(st.sampled_from([bags.RELIABLE, bags.LATCHED, bags.BEST_EFFORT]), max_size=3)
FORMS = (
    [("sqlite3", mode) for mode in (CompressionMode.NONE, CompressionMode.MESSAGE, CompressionMode.FILE)]
    + [("mcap", mode) for mode in CompressionMode]
)  # fmt: skip


RANDOM_BAGS = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)


@RANDOM_BAGS
@given(
    entries=recordings(),
    form=st.sampled_from(FORMS),
    version=st.sampled_from([8, 9]),
    profiles=st.lists(PROFILES, min_size=3, max_size=3),
    cuts=st.lists(st.integers(0, 20), max_size=2),
    storage=st.sampled_from([None, "sqlite3", "mcap"]),
    zstd=st.booleans(),
)
def test_every_message_of_a_random_bag_is_copied(
    entries: list[Entry],
    form: tuple[str, CompressionMode],
    version: int,
    profiles: list[Any],
    cuts: list[int],
    storage: str | None,
    zstd: bool,
) -> None:
    qos = dict(zip((IMAGE, INFO, "/topic_0"), profiles, strict=True))
    edges = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    parts = [entries[start:end] for start, end in pairwise(edges) if end > start]
    with TemporaryDirectory() as name:
        folder = Path(name)
        bags.split_bag(folder / "in", parts, storage=form[0], mode=form[1], qos=qos, version=version)
        before = {path: path.read_bytes() for path in (folder / "in").iterdir()}
        run(folder / "in", folder / "out", storage=storage, zstd=zstd)
        assert copied(folder / "out") == Counter((one.topic, one.time, one.data) for one in entries)
        assert {path: path.read_bytes() for path in (folder / "in").iterdir()} == before
        with BagReader(folder / "out") as again:
            assert sum(again.counts().values()) == len(bags.read_messages(folder / "out"))


class Foreign:
    """Writes an mcap file with the mcap library: ROS 2 channels, others, attachments, metadata."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._file = path.open("wb")
        self.writer = mcap_writer.Writer(self._file, **options)
        self.writer.start(profile="ros2", library="another")
        self._channels: dict[str, int] = {}

    def add(self, entry: Entry, sequence: int = 0, published: int = 0) -> None:
        if entry.topic not in self._channels:
            definition = bags.STORE.generate_msgdef(entry.msgtype, ros_version=2)[0].encode()
            schema = self.writer.register_schema(entry.msgtype, "ros2msg", definition)
            self._channels[entry.topic] = self.writer.register_channel(entry.topic, "cdr", schema)
        self.writer.add_message(
            self._channels[entry.topic], entry.time, entry.data, publish_time=published, sequence=sequence
        )

    def close(self) -> None:
        self.writer.finish()
        self._file.close()


COMPRESSIONS = list(mcap_writer.CompressionType)


@RANDOM_BAGS
@given(
    entries=recordings(),
    foreign=st.lists(
        st.tuples(
            st.sampled_from([("json", "jsonschema"), ("protobuf", "protobuf"), ("raw", None), ("cdr", None)]),
            st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
            st.lists(st.tuples(st.integers(0, 2**62), st.binary(max_size=40)), max_size=4),
        ),
        max_size=3,
    ),
    attachments=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=60)), max_size=2),
    records=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5)), max_size=2),
    options=st.fixed_dictionaries(
        {
            "compression": st.sampled_from(COMPRESSIONS),
            "chunk_size": st.sampled_from([100, 2000, 10**6]),
            "use_chunking": st.booleans(),
            "use_statistics": st.booleans(),
            "use_summary_offsets": st.booleans(),
            "repeat_channels": st.booleans(),
            "repeat_schemas": st.booleans(),
        }
    ),
    zstd=st.booleans(),
)
def test_every_record_of_a_random_mcap_is_copied(
    entries: list[Entry],
    foreign: list[Any],
    attachments: list[Any],
    records: list[Any],
    options: dict[str, Any],
    zstd: bool,
) -> None:
    with TemporaryDirectory() as name:
        source, target = Path(name) / "in.mcap", Path(name) / "out"
        recorder = Foreign(source, **options)
        writer = recorder.writer
        for number, ((encoding, schema_encoding), metadata, messages) in enumerate(foreign):
            schema = 0
            if schema_encoding is not None:
                schema = writer.register_schema(f"type{number}", schema_encoding, b"\x00\xff schema")
            channel = writer.register_channel(f"/foreign_{number}", encoding, schema, metadata)
            for time, data in messages:
                writer.add_message(channel, time, data, publish_time=time // 2, sequence=number)
        for number, entry in enumerate(entries):
            recorder.add(entry, number, entry.time // 3)
        for text, data in attachments:
            writer.add_attachment(5, 6, text, "text/plain", data)
        for pairs in records:
            writer.add_metadata("mine", pairs)
        recorder.close()

        run(source, target, zstd=zstd)
        out = (target / "out.mcap").read_bytes()
        assert Counter(one for one in bags.read_mcap(out) if one[0] not in ADDED) == Counter(
            bags.read_mcap(source.read_bytes())
        )
        with source.open("rb") as before, BytesIO(out) as after:
            assert channels(before) == channels(after)
            assert everything_else(before) == everything_else(after)
            after.seek(0)
            assert len(list(make_reader(after).iter_messages())) == len(bags.read_mcap(out))
        run(target, Path(name) / "again", image=IMAGE, namespace="/second")  # we read our own output


def channels(file: Any) -> Counter[Any]:
    """Return the channels of an mcap file with their schemas and metadata."""
    from mcap.stream_reader import StreamReader

    file.seek(0)
    schemas, found = {0: None}, Counter()
    for record in StreamReader(file, record_size_limit=None).records:
        kind = type(record).__name__
        if kind == "Schema":
            schemas[record.id] = (record.name, record.encoding, record.data)
        if kind == "Channel" and record.topic not in ADDED:
            metadata = {k: v for k, v in record.metadata.items() if k != "offered_qos_profiles"}
            key = (record.topic, record.message_encoding, schemas[record.schema_id])
            found[(*key, tuple(sorted(metadata.items())))] = 1
    return found


def everything_else(file: Any) -> tuple[Counter[Any], Counter[Any]]:
    """Return attachments and metadata records, but for rosbag2's own."""
    from mcap.stream_reader import StreamReader

    file.seek(0)
    attachments, records = Counter(), Counter()
    for record in StreamReader(file, record_size_limit=None).records:
        if type(record).__name__ == "Attachment":
            attachments[
                (record.name, record.media_type, record.log_time, record.create_time, record.data)
            ] += 1
        if type(record).__name__ == "Metadata" and record.name != "rosbag2":
            records[(record.name, tuple(sorted(record.metadata.items())))] += 1
    return attachments, records


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_lost_message_is_an_error_that_names_the_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    extra = [Entry("/grip", GRIP, bags.START + n, b"\x00\x01\x00\x00") for n in range(3)]
    bags.write_bag(tmp_path / "in", [*bags.pairs(2), *extra], storage)
    copy, lost = bag_writer.BagWriter.copy, []

    def lossy(self: Any, message: Any) -> None:
        if message.connection.topic == "/grip" and not lost:
            lost.append(message)
            return
        copy(self, message)

    monkeypatch.setattr(bag_writer.BagWriter, "copy", lossy)
    with pytest.raises(BagError, match="/grip: 2 of 3 messages"):
        run(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("kind", ["attachments", "metadata records"])
def test_a_lost_record_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    recorder = Foreign(tmp_path / "in.mcap")
    for entry in bags.pairs(1):
        recorder.add(entry)
    recorder.writer.add_attachment(1, 2, "notes.txt", "text/plain", b"precious")
    recorder.writer.add_metadata("mine", {"a": "b"})
    recorder.close()
    method = {"attachments": "add_attachment", "metadata records": "add_metadata"}[kind]
    original = getattr(McapWriter, method)
    lossy = lambda self, data: original(self, data) if b"rosbag2" in data else None  # noqa: E731
    monkeypatch.setattr(McapWriter, method, lossy)
    with pytest.raises(BagError, match=f"{kind}: 0 of 1"):
        run(tmp_path / "in.mcap", tmp_path / "out")
    assert not (tmp_path / "out").exists()
