"""`hand-depth bag`: adds the node's topics, changes nothing else; OUT is complete or absent."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the bag extra is not installed")

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from support.fakes import FakeEstimator
from support.messages import sample_rgb
from support.paths import TEST
from typer.testing import CliRunner

from hand_depth_ros.bag.convert import BagOptions, convert
from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.errors import BagError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.pipeline import process_frame
from hand_depth_ros.ros.messages.settings import OutputSettings

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(get_types_from_msg("string what\nfloat64[] values\n", "gripper_msgs/msg/Grip"))
T = STORE.types
SECOND = 1_000_000_000
HEIGHT, WIDTH = 24, 32
START = 1_700_000_000 * SECOND
IMAGE, INFO = "/cam/color/image_raw", "/cam/color/camera_info"
BEST_EFFORT = Qos(
    QosHistory.KEEP_LAST,
    7,
    QosReliability.BEST_EFFORT,
    QosDurability.TRANSIENT_LOCAL,
    QosTime(1, 2),
    QosTime(3, 4),
    QosLiveliness.AUTOMATIC,
    QosTime(5, 6),
    False,
)
ALL = frozenset(topic.name for topic in topics.OUTPUT_TOPICS)


def header(stamp: int, frame: str = "camera_color_optical_frame") -> object:
    time_type = T["builtin_interfaces/msg/Time"]
    return T["std_msgs/msg/Header"](time_type(stamp // SECOND, stamp % SECOND), frame)


def camera_info(stamp: int, f: float = 30.0) -> object:
    return T[topics_type("CameraInfo")](
        header=header(stamp),
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([f, 0, 15.5, 0, f, 11.5, 0, 0, 1.0]),
        r=np.eye(3).ravel(),
        p=np.array([f, 0, 15.5, 0, 0, f, 11.5, 0, 0, 0, 1.0, 0]),
        binning_x=0,
        binning_y=0,
        roi=T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def topics_type(name: str) -> str:
    return f"sensor_msgs/msg/{name}"


def raw_image(stamp: int, rgb: np.ndarray) -> object:
    data = np.ascontiguousarray(rgb[..., ::-1]).reshape(-1)
    return T[topics_type("Image")](header(stamp), HEIGHT, WIDTH, "bgr8", 0, 3 * WIDTH, data)


def jpeg_image(stamp: int, rgb: np.ndarray) -> object:
    data = cv2.imencode(".jpg", rgb[..., ::-1])[1].reshape(-1)
    return T[topics_type("CompressedImage")](header(stamp), "bgr8; jpeg compressed bgr8", data)


def record(path: Path, *, mcap: bool, jpeg: bool, mode: CompressionMode, frames: int = 5) -> None:
    """Record colour, camera_info and a topic of an unknown type, with equal receive times."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    writer.set_custom_data("robot", "seven")
    kind = topics_type("CompressedImage" if jpeg else "Image")
    with writer:
        image = writer.add_connection(
            IMAGE + "/compressed" * jpeg, kind, typestore=STORE, offered_qos_profiles=[BEST_EFFORT]
        )
        info = writer.add_connection(INFO, topics_type("CameraInfo"), typestore=STORE)
        grip = writer.add_connection(
            "/grip", "gripper_msgs/msg/Grip", typestore=STORE, offered_qos_profiles=[BEST_EFFORT, BEST_EFFORT]
        )
        for index in range(frames):
            stamp = START + index * SECOND // 30 + 7
            received = stamp + 3_000_000
            message = (jpeg_image if jpeg else raw_image)(stamp, sample_rgb(HEIGHT, WIDTH, index))
            writer.write(
                grip,
                received,
                STORE.serialize_cdr(
                    T["gripper_msgs/msg/Grip"]("a", np.arange(index, dtype=float)), "gripper_msgs/msg/Grip"
                ),
            )
            writer.write(image, received, STORE.serialize_cdr(message, kind))
            writer.write(grip, received, b"\x00\x01\x00\x00 not even CDR")
            # each frame is followed by a camera_info of its own
            info_message = camera_info(stamp, 30.0 + index)
            writer.write(info, received + 1, STORE.serialize_cdr(info_message, topics_type("CameraInfo")))


def contents(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


def decoded(path: Path, topic: str) -> list[tuple[int, object]]:
    with Reader(path) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        assert connections, f"{topic} is not in the bag"
        return [(t, STORE.deserialize_cdr(d, c.msgtype)) for c, t, d in reader.messages(connections)]


def run(source: Path, target: Path, **changes: object) -> object:
    bag_options = BagOptions(**{"image": IMAGE, "wanted": ALL, **changes})  # type: ignore[arg-type]
    return convert(source, target, FakeEstimator(), bag_options, OutputSettings())


STORAGES = pytest.mark.parametrize(
    ("mcap", "mode"),
    [
        pytest.param(False, CompressionMode.NONE, id="sqlite3"),
        pytest.param(False, CompressionMode.MESSAGE, id="sqlite3-message"),
        pytest.param(False, CompressionMode.FILE, id="sqlite3-file"),
        pytest.param(True, CompressionMode.NONE, id="mcap"),
        pytest.param(True, CompressionMode.STORAGE, id="mcap-zstd"),
    ],
)


@STORAGES
@pytest.mark.parametrize("jpeg", [False, True], ids=["raw", "jpeg"])
def test_copies_recorded_messages_unchanged(
    tmp_path: Path, mcap: bool, mode: CompressionMode, jpeg: bool
) -> None:
    record(tmp_path / "in", mcap=mcap, jpeg=jpeg, mode=mode)
    run(tmp_path / "in", tmp_path / "out", image=IMAGE + "/compressed" * jpeg)

    before = contents(tmp_path / "in")
    own = {topic for topic, _, _ in before}
    assert [m for m in contents(tmp_path / "out") if m[0] in own] == before
    with Reader(tmp_path / "in") as old, Reader(tmp_path / "out") as new:
        assert type(new.storage.storages[0]) is type(old.storage.storages[0])
        assert new.compression_mode == old.compression_mode
        assert new.storage.metadata.custom == {"robot": "seven"}
        kept = {c.topic: c for c in new.connections}
        for connection in old.connections:
            copy = kept[connection.topic]
            assert (copy.msgtype, copy.msgdef, copy.digest) == connection[2:5]
            assert (copy.ext, copy.msgcount) == (connection.ext, connection.msgcount)


def test_keeps_publish_times_and_sequence_numbers_of_mcap(tmp_path: Path) -> None:
    mcap_reader = pytest.importorskip("mcap.reader", reason="the reference mcap reader is not installed")
    mcap_writer = pytest.importorskip("mcap.writer", reason="the reference mcap writer is not installed")
    kinds = {"Image": IMAGE, "CameraInfo": INFO}
    with (tmp_path / "in.mcap").open("wb") as file:
        writer = mcap_writer.Writer(file, chunk_size=3000)
        writer.start(profile="ros2", library="test")
        channels = {}
        for kind, topic in kinds.items():
            definition = STORE.generate_msgdef(topics_type(kind), ros_version=2)[0].encode()
            schema = writer.register_schema(topics_type(kind), "ros2msg", definition)
            channels[kind] = writer.register_channel(topic, "cdr", schema)
        for index in range(6):
            stamp = START + index
            for kind, message in (
                ("CameraInfo", camera_info(stamp)),
                ("Image", raw_image(stamp, sample_rgb(HEIGHT, WIDTH))),
            ):
                data = bytes(STORE.serialize_cdr(message, topics_type(kind)))
                late = START + 10 * (index // 2)  # several messages share a receive time
                writer.add_message(channels[kind], late, data, publish_time=stamp - 5, sequence=40 + index)
        writer.finish()
    run(tmp_path / "in.mcap", tmp_path / "out")

    def heads(path: Path) -> list[tuple[str, int, int, int, bytes]]:
        with path.open("rb") as file:
            messages = mcap_reader.make_reader(file).iter_messages(topics=list(kinds.values()))
            return [(c.topic, m.sequence, m.log_time, m.publish_time, m.data) for _, c, m in messages]

    before = heads(tmp_path / "in.mcap")
    assert len(before) == 12 and heads(tmp_path / "out" / "out.mcap") == before


@pytest.mark.parametrize("jpeg", [False, True], ids=["raw", "jpeg"])
def test_added_messages_are_those_of_the_pipeline_with_the_colour_header(tmp_path: Path, jpeg: bool) -> None:
    record(tmp_path / "in", mcap=True, jpeg=jpeg, mode=CompressionMode.NONE)
    name = IMAGE + "/compressed" * jpeg
    summary = run(tmp_path / "in", tmp_path / "out", image=name, namespace="/hand")

    assert (summary.frames, summary.with_hands, summary.skipped) == (5, 5, {})
    colour, infos = decoded(tmp_path / "in", name), decoded(tmp_path / "in", INFO)
    estimator = FakeEstimator()
    expected = [process_frame(estimator, c, i, ALL) for (_, c), (_, i) in zip(colour, infos, strict=True)]
    for topic in topics.OUTPUT_TOPICS:
        messages = decoded(tmp_path / "out", f"/hand/{topic.name}")
        assert [time for time, _ in messages] == [time for time, _ in colour]
        for (_, message), (_, image), (_, info), processed in zip(
            messages, colour, infos, expected, strict=True
        ):
            assert message.header == image.header
            if topic.name == topics.CAMERA_INFO:
                assert STORE.serialize_cdr(message, topic.type) == STORE.serialize_cdr(info, topic.type)
                continue
            for field, value in processed.outputs[topic.name].items():
                if field == "data":
                    assert np.array_equal(message.data, value)
                elif field == "fields":
                    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
                        (f["name"], f["offset"], f["datatype"], f["count"]) for f in value
                    ]
                else:
                    assert getattr(message, field) == value


def test_every_added_image_has_a_sibling_camera_info(tmp_path: Path) -> None:
    record(tmp_path / "in", mcap=False, jpeg=False, mode=CompressionMode.NONE)
    run(tmp_path / "in", tmp_path / "out")
    with Reader(tmp_path / "out") as reader:
        recorded = {c.topic: c.msgtype for c in reader.connections}
    for topic in topics.OUTPUT_TOPICS:
        if topic.is_image:
            sibling = f"/{topic.name}".rpartition("/")[0] + "/camera_info"
            assert recorded[sibling] == topics_type("CameraInfo")


def test_accepts_a_single_storage_file(tmp_path: Path) -> None:
    for name, mcap in (("a.db3", False), ("b.mcap", True)):
        folder = tmp_path / Path(name).stem
        record(folder, mcap=mcap, jpeg=False, mode=CompressionMode.NONE)
        run(folder / name, tmp_path / f"out-{name}")
        own = [m for m in contents(tmp_path / f"out-{name}") if m[0] in (IMAGE, INFO, "/grip")]
        assert own == contents(folder)


def test_converts_to_another_storage(tmp_path: Path) -> None:
    record(tmp_path / "in", mcap=True, jpeg=False, mode=CompressionMode.STORAGE)
    run(tmp_path / "in", tmp_path / "out", storage="sqlite3")
    assert [p.suffix for p in (tmp_path / "out").iterdir() if p.suffix != ".yaml"] == [".db3"]


@pytest.mark.parametrize("mcap", [False, True], ids=["sqlite3", "mcap"])
def test_zstd_shrinks_the_bag_and_changes_nothing(tmp_path: Path, mcap: bool) -> None:
    record(tmp_path / "in", mcap=mcap, jpeg=False, mode=CompressionMode.NONE)
    run(tmp_path / "in", tmp_path / "plain")
    run(tmp_path / "in", tmp_path / "packed", zstd=True)
    assert contents(tmp_path / "plain") == contents(tmp_path / "packed")
    sizes = [sum(f.stat().st_size for f in (tmp_path / n).iterdir()) for n in ("packed", "plain")]
    assert sizes[0] < sizes[1]


def test_a_frame_uses_the_latest_camera_info_if_none_has_its_stamp(tmp_path: Path) -> None:
    with Writer(tmp_path / "in", version=9) as writer:
        image = writer.add_connection(IMAGE, topics_type("Image"), typestore=STORE)
        info = writer.add_connection(INFO, topics_type("CameraInfo"), typestore=STORE)
        sent = (
            (0, 0.0),
            (10, 50.0),
            (20, 0.0),
            (30, 60.0),
            (40, 0.0),
        )  # stamp; focal length of an info, or 0
        for stamp, f in sent:
            kind = "CameraInfo" if f else "Image"
            message = camera_info(stamp, f) if f else raw_image(stamp, sample_rgb(HEIGHT, WIDTH))
            writer.write(info if f else image, START + stamp, STORE.serialize_cdr(message, topics_type(kind)))
    run(tmp_path / "in", tmp_path / "out")
    infos = decoded(tmp_path / "out", "/depth_registered/camera_info")
    assert [info.k[0] for _, info in infos] == [50.0, 50.0, 60.0]
    assert [info.header.stamp.nanosec for _, info in infos] == [0, 20, 40]


def test_a_gap_in_the_recording_restarts_tracking_as_in_the_live_node(tmp_path: Path) -> None:
    with Writer(tmp_path / "in", version=9) as writer:
        image = writer.add_connection(IMAGE, topics_type("Image"), typestore=STORE)
        info = writer.add_connection(INFO, topics_type("CameraInfo"), typestore=STORE)
        writer.write(info, START, STORE.serialize_cdr(camera_info(0), topics_type("CameraInfo")))
        for stamp in (0, SECOND, 60 * SECOND, 61 * SECOND):
            message = raw_image(stamp, sample_rgb(HEIGHT, WIDTH))
            writer.write(image, START + stamp, STORE.serialize_cdr(message, topics_type("Image")))
    run(tmp_path / "in", tmp_path / "out")
    # The fake numbers its hands by the number of resets.
    firsts = [int(mask.data[mask.data > 0].min()) for _, mask in decoded(tmp_path / "out", "/hand_mask")]
    assert firsts == [1, 1, 11, 11]


def test_skips_and_counts_a_bad_frame(tmp_path: Path) -> None:
    with Writer(tmp_path / "in", version=9) as writer:
        image = writer.add_connection(IMAGE, topics_type("Image"), typestore=STORE)
        info = writer.add_connection(INFO, topics_type("CameraInfo"), typestore=STORE)
        writer.write(info, START, STORE.serialize_cdr(camera_info(0), topics_type("CameraInfo")))
        good = raw_image(1, sample_rgb(HEIGHT, WIDTH))
        short = raw_image(2, sample_rgb(HEIGHT, WIDTH))
        short.data = short.data[:-1]
        writer.write(image, START, STORE.serialize_cdr(good, topics_type("Image")))
        writer.write(image, START + 1, STORE.serialize_cdr(short, topics_type("Image")))
        writer.write(image, START + 2, b"\x00\x01\x00\x00\xff")
    summary = run(tmp_path / "in", tmp_path / "out")
    assert summary.frames == 1 and sum(summary.skipped.values()) == 2
    assert [m for m in contents(tmp_path / "out") if m[0] in (IMAGE, INFO)] == contents(tmp_path / "in")


def test_reports_skipped_frames_by_reason_with_exit_code_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Writer(tmp_path / "in", version=9) as writer:
        image = writer.add_connection(IMAGE, topics_type("Image"), typestore=STORE)
        info = writer.add_connection(INFO, topics_type("CameraInfo"), typestore=STORE)
        writer.write(info, START, STORE.serialize_cdr(camera_info(0), topics_type("CameraInfo")))
        for index in range(3):
            message = raw_image(index, sample_rgb(HEIGHT, WIDTH))
            message.encoding = "nonsense" if index == 1 else "bgr8"
            writer.write(image, START + index, STORE.serialize_cdr(message, topics_type("Image")))
    monkeypatch.setattr(options, "load_estimator", lambda *_: FakeEstimator(max_range_m=0.4))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    arguments = ["bag", str(tmp_path / "in"), str(tmp_path / "out"), "--image", IMAGE]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 frames with depth" in result.stdout and "0 of them with the depth of a hand" in result.stdout
    assert "1 colour frame left without depth" in result.stdout
    assert "1 frame without depth: " in result.stderr and "nonsense" in result.stderr


def test_compressed_depth_replaces_the_raw_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "in", mcap=True, jpeg=False, mode=CompressionMode.NONE)
    monkeypatch.setattr(options, "load_estimator", lambda *_: FakeEstimator())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name, option in (("raw", []), ("small", ["--compressed-depth"])):
        arguments = ["bag", str(tmp_path / "in"), str(tmp_path / name), "--image", IMAGE, *option]
        assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    raw = decoded(tmp_path / "raw", "/depth_registered/image_raw")
    small = decoded(tmp_path / "small", "/depth_registered/image_raw/compressedDepth")
    assert len(raw) == len(small) == 5
    for (received, image), (again, packed) in zip(raw, small, strict=True):
        assert (packed.header, again) == (image.header, received)
        assert packed.format == "16UC1; compressedDepth png"
        pixels = cv2.imdecode(packed.data[12:], cv2.IMREAD_UNCHANGED)
        assert np.array_equal(pixels, image.data.view("<u2").reshape(HEIGHT, WIDTH))
    with Reader(tmp_path / "small") as reader:
        added = {c.topic for c in reader.connections if c.topic.startswith("/depth_registered/")}
    images = {f"/depth_registered/{name}/compressedDepth" for name in ("image_raw", "image", "sigma")}
    assert added == images | {"/depth_registered/camera_info"}


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    record(tmp_path / "in", mcap=False, jpeg=False, mode=CompressionMode.NONE)
    for name in ("file", "folder", "in"):
        if name == "file":
            (tmp_path / name).write_text("precious")
        else:
            (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(BagError, match="not overwritten"):
            run(tmp_path / "in", tmp_path / name)
    assert (tmp_path / "file").read_text() == "precious"
    assert contents(tmp_path / "in")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "/nothing"}, r"no topic /nothing.*--image one of /cam/color/image_raw"),
        ({"image": "/grip"}, "gripper_msgs/msg/Grip"),
        ({"camera_info": "/grip"}, "--camera-info one of /cam/color/camera_info"),
        ({"namespace": "/taken"}, "--namespace"),
    ],
)
def test_wrong_topics_are_named_with_those_that_fit(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    record(tmp_path / "in", mcap=False, jpeg=False, mode=CompressionMode.NONE)
    if "namespace" in changes:
        run(tmp_path / "in", tmp_path / "once", **changes)
    with pytest.raises(BagError, match=message):
        run(tmp_path / ("once" if "namespace" in changes else "in"), tmp_path / "out", **changes)
    assert not list(tmp_path.glob("out*"))


def corrupt_missing(bag: Path) -> None:
    (bag / "metadata.yaml").unlink()


def corrupt_truncated(bag: Path) -> None:
    storage = next(p for p in bag.iterdir() if p.suffix in (".db3", ".mcap"))
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])


def corrupt_noise(bag: Path) -> None:
    storage = next(p for p in bag.iterdir() if p.suffix in (".db3", ".mcap"))
    storage.write_bytes(np.random.default_rng(0).bytes(5000))


def corrupt_metadata(bag: Path) -> None:
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: 7\n")


@pytest.mark.parametrize("mcap", [False, True], ids=["sqlite3", "mcap"])
@pytest.mark.parametrize("damage", [corrupt_missing, corrupt_truncated, corrupt_noise, corrupt_metadata])
def test_a_broken_bag_is_an_error_and_leaves_nothing(tmp_path: Path, mcap: bool, damage: object) -> None:
    record(tmp_path / "in", mcap=mcap, jpeg=False, mode=CompressionMode.NONE)
    damage(tmp_path / "in")  # type: ignore[operator]
    with pytest.raises(BagError, match="in: "):
        run(tmp_path / "in", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_bag_without_a_usable_frame_is_an_error(tmp_path: Path) -> None:
    record(tmp_path / "in", mcap=False, jpeg=False, mode=CompressionMode.NONE, frames=0)
    with pytest.raises(BagError, match="no messages"):
        run(tmp_path / "in", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_an_error_during_conversion_leaves_nothing(tmp_path: Path) -> None:
    record(tmp_path / "in", mcap=True, jpeg=False, mode=CompressionMode.NONE)

    class Breaking(FakeEstimator):
        def estimate(self, *args: object, **kwargs: object) -> SimpleNamespace:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(
            tmp_path / "in", tmp_path / "out", Breaking(), BagOptions(IMAGE, wanted=ALL), OutputSettings()
        )
    assert not list(tmp_path.glob("out*"))


SLOW_RUN = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from support.fakes import FakeEstimator
    from hand_depth_ros.bag.convert import BagOptions, convert
    from hand_depth_ros.ros.messages import topics
    from hand_depth_ros.ros.messages.settings import OutputSettings

    class Slow(FakeEstimator):
        done = 0
        def estimate(self, *args, **kwargs):
            Slow.done += 1
            if Slow.done == 3:
                print("half way", flush=True)
                time.sleep(60)
            return super().estimate(*args, **kwargs)

    options = BagOptions({image!r}, wanted=frozenset(t.name for t in topics.OUTPUT_TOPICS))
    convert(Path({source!r}), Path({target!r}), Slow(), options, OutputSettings())
"""


@pytest.mark.parametrize("mcap", [False, True], ids=["sqlite3", "mcap"])
def test_a_killed_run_leaves_no_bag_and_does_not_block_the_next(tmp_path: Path, mcap: bool) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    record(source, mcap=mcap, jpeg=False, mode=CompressionMode.NONE)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    code = textwrap.dedent(SLOW_RUN).format(
        tests=str(TEST), image=IMAGE, source=str(source), target=str(target)
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "half way\n"
        with pytest.raises(BagError, match="another process"):
            run(source, target)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert not target.exists()
    assert not list(tmp_path.glob("out*/**/metadata.yaml"))
    for begun in [*tmp_path.glob("out*/**/*.mcap"), *tmp_path.glob("out*/**/*.db3")]:
        with pytest.raises(BagError):  # it is not accepted as a bag
            run(begun, tmp_path / "again")
    time.sleep(0.1)  # the lock goes with the process
    run(source, target)
    assert len(decoded(target, "/depth_registered/image_raw")) == 5
    assert not list(tmp_path.glob("out?*"))


FULL_DISK_RUN = """
    import resource, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from support.fakes import FakeEstimator
    from hand_depth_ros.bag.convert import BagOptions, convert
    from hand_depth_ros.errors import BagError
    from hand_depth_ros.ros.messages import topics
    from hand_depth_ros.ros.messages.settings import OutputSettings

    if {limit}:
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    options = BagOptions({image!r}, wanted=frozenset(t.name for t in topics.OUTPUT_TOPICS))
    try:
        convert(Path({source!r}), Path({target!r}), FakeEstimator(), options, OutputSettings())
        print("written")
    except BagError as error:
        print("BagError:", error)
    print(sorted(p.name for p in Path({target!r}).parent.iterdir()))
"""
ROOM = 2**16
"""Bytes: too few for the bag, enough for its first messages."""


@pytest.mark.parametrize("mcap", [False, True], ids=["sqlite3", "mcap"])
@pytest.mark.parametrize("disk", ["tmpfs", "limit"])
def test_a_disk_that_fills_up_is_an_error_and_leaves_nothing(tmp_path: Path, mcap: bool, disk: str) -> None:
    """Fill a small file system (where users may mount one), or hit the file size limit."""
    source, folder = tmp_path / "in", tmp_path / "full"
    record(source, mcap=mcap, jpeg=False, mode=CompressionMode.NONE, frames=40)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    folder.mkdir()
    limit = ROOM if disk == "limit" else 0
    code = textwrap.dedent(FULL_DISK_RUN).format(
        tests=str(TEST), limit=limit, image=IMAGE, source=str(source), target=str(folder / "out")
    )
    command = [sys.executable, "-c", code]
    if disk == "tmpfs":
        private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
        mount = f'mount -t tmpfs -o size={ROOM} tmpfs "{folder}"'
        if subprocess.run([*private, mount], capture_output=True, check=False).returncode:
            pytest.skip("no small file system can be mounted here (needs user namespaces)")
        command = [*private, f'{mount} && exec "$@"', "sh", *command]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout.startswith(f"BagError: {folder / 'out'}: cannot be written ("), run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "[]", "neither the bag nor a part of it is left"
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
