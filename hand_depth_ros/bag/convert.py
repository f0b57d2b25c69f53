"""`hand-depth bag`: a recorded bag with a colour camera in, the same bag plus the node's depth topics out.

Goes through `ros.pipeline.process_frame` as the live node does, so both give the same bytes for the same
frames. No ROS installation needed.
"""

from __future__ import annotations

import copy
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from hand_depth_ros.cli import options
from hand_depth_ros.cli.interrupt import exit_on_sigint
from hand_depth_ros.errors import BagError, HandDepthError, ImageError, counted

if TYPE_CHECKING:
    from hand_depth_ros.bag.rosbag2 import BagReader, BagWriter, Connection
    from hand_depth_ros.estimation.estimator import HandDepthEstimator
    from hand_depth_ros.ros.messages.camera_info_history import CameraInfoHistory
    from hand_depth_ros.ros.messages.settings import OutputSettings

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
NAMESPACE = re.compile(r"/?|/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*/?")


class Storage(str, Enum):
    """Storage plugins that can be written."""

    sqlite3 = "sqlite3"
    mcap = "mcap"


@dataclass(frozen=True)
class BagOptions:
    """What is read and what is added.

    `image` and `camera_info` are topics (no camera_info: the sibling of the image); `namespace` goes in
    front of the added topics' names; `wanted` are names of `ros.topics.OUTPUT_TOPICS`; `storage` None is
    that of the input.
    """

    image: str
    camera_info: str | None = None
    namespace: str = "/"
    wanted: frozenset[str] = frozenset()
    storage: str | None = None
    zstd: bool = False


@dataclass
class BagSummary:
    """What a conversion did: frames with depth images, with a hand's depth in them, and how often each reason left one out."""

    frames: int = 0
    with_hands: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def bag(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A rosbag2 folder, or a .db3 or .mcap file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The new bag; must not exist.")],
    image: Annotated[str, typer.Option("--image", help="Colour topic: Image or CompressedImage.")],
    camera_info: Annotated[
        str | None, typer.Option(help="Its CameraInfo topic.  [default: beside --image]", show_default=False)
    ] = None,
    namespace: Annotated[str, typer.Option(help="Goes in front of the added topics.")] = "/",
    points: Annotated[bool, typer.Option("--points", help="Also add the point cloud.")] = False,
    points_organized: Annotated[
        bool, typer.Option("--points-organized", help="One point a pixel instead of hand points only.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Also add debug/image.")] = False,
    compressed_depth: Annotated[
        bool,
        typer.Option(
            "--compressed-depth", help="Depth and sigma as compressedDepth (PNG) instead of raw images."
        ),
    ] = False,
    rectified: Annotated[
        bool, typer.Option("--image-is-rectified", help="The topic is rectified: P counts, no distortion.")
    ] = False,
    far_m: Annotated[
        float | None,
        typer.Option(
            help="Background depth instead of invalid, metres, beyond --max-range-m, 65 at most.",
            show_default=False,
        ),
    ] = None,
    storage: Annotated[
        Storage | None, typer.Option(help="Of OUT.  [default: as IN]", show_default=False)
    ] = None,
    zstd: Annotated[
        bool, typer.Option("--zstd", help="Compress OUT (empty depth shrinks much).  [default: as IN]")
    ] = False,
    hand_length_m: options.HandLength = None,
    max_hands: options.MaxHands = None,
    min_range_m: options.MinRange = None,
    max_range_m: options.MaxRange = None,
    max_sigma_m: options.MaxSigma = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Add the node's depth topics to a recorded bag; no ROS needed. For example:

    hand-depth bag my_bag my_bag_depth --image /camera/color/image_raw

    Every recorded message is kept as it is. The added ones have header stamp, frame and receive time of
    the colour message that they come from. OUT is never left half written.

    A colour frame that cannot be used (broken image, no valid calibration, a stamp that jumps back) gets no
    depth; how many there are, and why, is told at the end. Exit code: 0 when at least one frame has depth, 1
    when none has or the bag cannot be read or written, 2 for wrong usage.
    """
    with exit_on_sigint():
        from hand_depth_ros.bag.rosbag2 import validate_existing
        from hand_depth_ros.ros.messages import topics
        from hand_depth_ros.ros.parameters import output_settings

    if not NAMESPACE.fullmatch(namespace):
        raise typer.BadParameter(
            f"--namespace is {namespace!r}: a ROS name is needed, parts of letters, digits and _ that begin "
            "with no digit, for example /left/hand"
        )
    values = options.checked(
        hand_length_m=hand_length_m,
        max_hands=max_hands,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
        num_threads=threads,
        points_organized=points_organized,
        image_is_rectified=rectified,
        background=None if far_m is None else "far",
        far_m=far_m,
    )
    validate_existing(target)
    left_out = {topics.POINTS: not (points or points_organized), topics.DEBUG: not debug}
    for name in topics.COMPRESSED:
        left_out[name] = not compressed_depth
        left_out[name.removesuffix(topics.COMPRESSED_DEPTH)] = compressed_depth
    wanted = frozenset(topic.name for topic in topics.OUTPUT_TOPICS if not left_out.get(topic.name))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the unfinished bag is removed
    estimator = options.load_estimator(weights, device, values)
    summary = convert(
        source,
        target,
        estimator,
        BagOptions(image, camera_info, namespace, wanted, None if storage is None else storage.value, zstd),
        output_settings(values),
    )
    without = sum(summary.left_out.values())
    print(
        f"{counted(summary.frames, 'frame')} with depth added to {target}, {summary.with_hands} of them "
        f"with the depth of a hand; {counted(without, 'colour frame')} left without depth"
    )
    for reason, count in summary.left_out.items():
        print(f"hand-depth: {counted(count, 'frame')} without depth: {reason}", file=sys.stderr)


def convert(
    source: Path, target: Path, estimator: HandDepthEstimator, wish: BagOptions, settings: OutputSettings
) -> BagSummary:
    """Write `target`: `source` plus the wanted topics, estimated frame after frame in the order of recording.

    Raises:
        BagError: Input missing or broken, topics missing or already there, output existing or not
        writable, or
            no frame at all that could be used.
    """
    from rich.console import Console
    from rich.progress import track

    from hand_depth_ros.bag import rosbag2 as bag_files

    bag_files.validate_existing(target)
    with bag_files.BagReader(source) as reader:
        colour = one_topic(reader, wish.image, (RAW, COMPRESSED), "--image")
        infos = _camera_infos(reader, wish)
        storage = bag_files.StoragePlugin[wish.storage.upper()] if wish.storage else reader.storage
        compression = bag_files.compression_for(storage, reader.compression, wish.zstd)
        with bag_files.new_bag(target, reader, storage, compression) as writer:
            adding = _Adding(reader, writer, wish, settings, estimator, infos)
            messages = track(
                reader.messages(), "bag", total=reader.message_count, console=Console(stderr=True)
            )
            for connection, timestamp, data in messages:
                writer.copy(connection, timestamp, data)
                if connection.topic == colour:
                    adding.frame(connection, timestamp, data)
            if not adding.summary.frames:
                reasons = "; ".join(adding.summary.left_out) or "it has no messages"
                raise BagError(f"{source}: no frame of {colour} could be used: {reasons}")
        return adding.summary


class _Adding:
    """The added topics of one bag, and what was put on them so far."""

    def __init__(
        self,
        reader: BagReader,
        writer: BagWriter,
        wish: BagOptions,
        settings: OutputSettings,
        estimator: HandDepthEstimator,
        infos: CameraInfoHistory,
    ) -> None:
        from hand_depth_ros.ros.messages import topics
        from hand_depth_ros.ros.messages.stamps import Stamps

        self._reader, self._writer = reader, writer
        self._wanted, self._settings = wish.wanted, settings
        self._estimator, self._infos = estimator, infos
        self._types: dict[str, Any] = reader.typestore.types
        self._stamps = Stamps()
        self.summary = BagSummary()

        recorded = {connection.topic for connection in reader.connections}
        names = {name: f"/{wish.namespace.strip('/')}/{name}".replace("//", "/") for name in wish.wanted}
        if taken := sorted(recorded.intersection(names.values())):
            raise BagError(f"the bag already has {', '.join(taken)}: give a --namespace for the added topics")
        self._info_connections = []
        self._connections: dict[str, Connection] = {}
        for topic in topics.OUTPUT_TOPICS:
            if topic.name in names and topic.name != topics.CAMERA_INFO:
                self._connections[topic.name] = writer.add_topic(names[topic.name], topic.type)
        if topics.CAMERA_INFO in names:
            images = [names[t.name] for t in topics.OUTPUT_TOPICS if t.is_image and t.name in names]
            siblings = [names[topics.CAMERA_INFO], *map(topics.sibling_camera_info, images)]
            self._info_connections = [
                writer.add_topic(name, CAMERA_INFO)
                for name in dict.fromkeys(siblings)
                if name not in recorded
            ]

    def frame(self, connection: Connection, timestamp: int, data: bytes) -> None:
        """Estimate one colour message and write what comes of it; a bad one is counted with its reason."""
        from hand_depth_ros.ros.messages.pipeline import process_frame
        from hand_depth_ros.ros.messages.stamps import stamp_ns

        try:
            image = self._reader.read(connection, data)
            stamp = stamp_ns(image.header)
            info = self._infos.select(stamp, timestamp)
            jump = self._stamps.jump(stamp)
            if jump is not None:
                self._estimator.reset()  # as the live node does
                if jump < 0.0:
                    raise ImageError("the stamp jumps back; tracking starts over, as in the live node")
            processed = process_frame(self._estimator, image, info, self._wanted, self._settings)
        except HandDepthError as error:
            self.summary.left_out[str(error)] += 1
            return
        info = copy.copy(info)
        info.header = image.header
        for added in self._info_connections:
            self._writer.add(added, timestamp, info)
        for name, fields in processed.outputs.items():
            added = self._connections[name]
            self._writer.add(added, timestamp, self._message(added.msgtype, fields, image.header))
        self.summary.frames += 1
        estimated = processed.frame
        self.summary.with_hands += bool(estimated is not None and np.isfinite(estimated.depth).any())

    def _message(self, msgtype: str, fields: dict[str, Any], header: Any) -> Any:
        """Fields of `ros.encode` as a message object of rosbags."""
        if "fields" in fields:
            point_field = self._types["sensor_msgs/msg/PointField"]
            fields = fields | {"fields": [point_field(**one) for one in fields["fields"]]}
        return self._types[msgtype](header=header, **fields)


def _camera_infos(reader: BagReader, wish: BagOptions) -> CameraInfoHistory:
    from hand_depth_ros.ros.messages.camera_info_history import CameraInfoHistory
    from hand_depth_ros.ros.messages.topics import sibling_camera_info

    name = wish.camera_info or sibling_camera_info(wish.image.removesuffix("/compressed"))
    name = one_topic(reader, name, (CAMERA_INFO,), "--camera-info")
    connections = [connection for connection in reader.connections if connection.topic == name]
    infos = CameraInfoHistory()
    for connection, timestamp, data in reader.messages(connections):
        infos.add(reader.read(connection, data), timestamp)
    if not infos:
        raise BagError(f"{name} has no messages in this bag: name another topic with --camera-info")
    return infos


def one_topic(reader: BagReader, name: str, msgtypes: tuple[str, ...], option: str) -> str:
    """The topic if the bag has it with one of the types; else an error that lists those that would do."""
    name = name if name.startswith("/") else f"/{name}"
    if any(c.topic == name and c.msgtype in msgtypes for c in reader.connections):
        return name
    found = next((c.msgtype for c in reader.connections if c.topic == name), None)
    problem = f"{name} is {found}, not {' or '.join(msgtypes)}" if found else f"the bag has no topic {name}"
    fitting = sorted({c.topic for c in reader.connections if c.msgtype in msgtypes})
    choice = f"give {option} one of {', '.join(fitting)}" if fitting else f"it has no {' or '.join(msgtypes)}"
    raise BagError(f"{problem}: {choice}")
