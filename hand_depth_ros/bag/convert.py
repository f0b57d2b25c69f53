"""Copy a recorded bag with a colour camera and add the node's depth topics.

Each frame goes through `ros.messages.pipeline.process_frame` as in the live node, so both give the
same bytes for the same frame. Needs no ROS installation.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track

from hand_depth_ros.bag.camera import (
    CAMERA_INFO,
    AssumedCameraInfo,
    CameraInfoSource,
    RecordedCameraInfo,
)
from hand_depth_ros.bag.reader import BagReader, RecordedMessage, RecordedTopic, find_topic
from hand_depth_ros.bag.writer import BagWriter, compression_for, new_bag, validate_new_path
from hand_depth_ros.errors import BagError, HandDepthError, ImageError
from hand_depth_ros.ros.diagnostics.image_monitor import ImageMonitor
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.camera_info import complete_camera_info
from hand_depth_ros.ros.messages.decode import DEFAULT_SETTINGS, ImageDecoder
from hand_depth_ros.ros.messages.pipeline import process_frame
from hand_depth_ros.ros.messages.stamps import Stamps, stamp_ns

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator
    from hand_depth_ros.ros.messages.assumed_camera import AssumedCamera
    from hand_depth_ros.ros.messages.settings import DecodeSettings, OutputSettings

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


@dataclass(frozen=True)
class BagOptions:
    """Topics to read and topics to add.

    Attributes:
        image: Colour topic.
        camera_info: Its CameraInfo topic; None for the sibling of `image`.
        camera: Use this camera instead of recorded camera_info.
        namespace: Prefix for the names of the added topics.
        wanted: Output topics to add, names of `ros.messages.topics.OUTPUT_TOPICS`.
        storage: "sqlite3" or "mcap"; None for that of the input.
        zstd: Compress the new bag even if the input is not compressed.
        decode: How to read the images.
    """

    image: str
    camera_info: str | None = None
    namespace: str = "/"
    wanted: frozenset[str] = frozenset()
    storage: str | None = None
    zstd: bool = False
    decode: DecodeSettings = DEFAULT_SETTINGS
    camera: AssumedCamera | None = None


@dataclass
class BagSummary:
    """Result of a conversion.

    Attributes:
        frames: Colour frames with depth images.
        with_hands: Those with the depth of at least one hand in them.
        skipped: Colour frames without depth, counted by reason.
        notices: What else the user should know, with the number of frames it concerns.
        notes: What the user should know about the bag as a whole, one line each.
    """

    frames: int = 0
    with_hands: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def convert(
    source: Path, target: Path, estimator: HandDepthEstimator, options: BagOptions, settings: OutputSettings
) -> BagSummary:
    """Write `target`: all of `source` plus the wanted topics, frame by frame in recorded order.

    Raises:
        BagError: The input is missing or broken, topics are missing or already there, the output
            exists or cannot be written, or not a single frame could be used.
    """
    validate_new_path(target)
    with BagReader(source) as reader:
        colour = find_topic(reader, options.image, (RAW, COMPRESSED), "--image")
        camera_infos = _camera_info_source(reader, options)
        storage = options.storage or reader.storage
        compression = compression_for(storage, reader.compression, options.zstd)
        with new_bag(target, reader, storage, compression) as writer:
            depth = DepthTopicWriter(reader, writer, options, settings, estimator, camera_infos)
            messages = track(
                reader.messages(), "bag", total=reader.message_count, console=Console(stderr=True)
            )
            for message in messages:
                writer.copy(message)
                if message.connection.topic == colour and message.connection.is_ros2:
                    depth.add_frame(message)
            if not depth.summary.frames:
                reasons = "; ".join(depth.summary.skipped) or "it has no messages"
                raise BagError(f"{source}: no frame of {colour} could be used: {reasons}")
        depth.summary.notes += reader.notes
        return depth.summary


class DepthTopicWriter:
    """Estimate the colour frames of a bag and write the added topics."""

    def __init__(
        self,
        reader: BagReader,
        writer: BagWriter,
        options: BagOptions,
        settings: OutputSettings,
        estimator: HandDepthEstimator,
        camera_infos: CameraInfoSource,
    ) -> None:
        """Create the added topics; BagError if the bag already has one of them."""
        self._reader, self._writer = reader, writer
        self._wanted, self._settings = options.wanted, settings
        self._estimator, self._camera_infos = estimator, camera_infos
        self._types: dict[str, Any] = reader.typestore.types
        self._stamps = Stamps()
        self.summary = BagSummary()
        self._decoder = ImageDecoder(options.decode, self._notice)
        self._received_s = 0.0
        self._images = ImageMonitor(clock=lambda: self._received_s)

        recorded = {connection.topic for connection in reader.connections}
        prefix = options.namespace.strip("/")
        names = {name: f"/{prefix}/{name}".replace("//", "/") for name in options.wanted}
        if taken := sorted(recorded.intersection(names.values())):
            raise BagError(f"the bag already has {', '.join(taken)}: give a --namespace for the added topics")
        self._info_connections: list[RecordedTopic] = []
        self._connections: dict[str, RecordedTopic] = {}
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

    def add_frame(self, message: RecordedMessage) -> None:
        """Estimate one colour message and write the results; count it as skipped if unusable."""
        try:
            image = self._reader.read(message.connection, message.data)
            camera_info = self._camera_infos.select(image, message.timestamp)
            self._reset_at_jump(image.header)
            processed = process_frame(
                self._estimator, image, camera_info, self._wanted, self._settings, self._decoder
            )
        except HandDepthError as error:
            self.summary.skipped[str(error)] += 1
            return
        self._received_s = 1e-9 * message.timestamp
        if processed.rgb is not None:
            self._notice(self._images.update(processed.rgb, self._decoder.damage))
        camera_info, filled_in = complete_camera_info(camera_info)
        self._notice(filled_in)
        camera_info = copy.copy(camera_info)
        camera_info.header = image.header
        for added in self._info_connections:
            self._writer.add(added, message.timestamp, camera_info)
        for name, fields in processed.outputs.items():
            added = self._connections[name]
            self._writer.add(added, message.timestamp, self._message(added.msgtype, fields, image.header))
        self.summary.frames += 1
        frame = processed.frame
        self.summary.with_hands += bool(frame is not None and np.isfinite(frame.depth).any())

    def _notice(self, text: str) -> None:
        """Count a notice about the current frame; "" is none."""
        if text:
            self.summary.notices[re.sub(r" for \d+ s\b", " for seconds", text)] += 1

    def _reset_at_jump(self, header: Any) -> None:
        """Restart tracking where the live node does; refuse a frame whose stamp jumps back."""
        jump = self._stamps.jump(stamp_ns(header))
        if jump is not None:
            self._estimator.reset()
            if jump < 0.0:
                raise ImageError("the stamp jumps back; tracking restarts, as in the live node")

    def _message(self, msgtype: str, fields: dict[str, Any], header: Any) -> Any:
        """Return fields of `ros.messages.encode` as a message object of rosbags."""
        if "fields" in fields:
            point_field = self._types["sensor_msgs/msg/PointField"]
            fields = fields | {"fields": [point_field(**one) for one in fields["fields"]]}
        return self._types[msgtype](header=header, **fields)


def _camera_info_source(reader: BagReader, options: BagOptions) -> CameraInfoSource:
    if options.camera is None:
        return RecordedCameraInfo(reader, options.image, options.camera_info)
    return AssumedCameraInfo(options.camera, reader.typestore.types, reader.notes)
