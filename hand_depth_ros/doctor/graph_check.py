"""What would keep a consumer of the node, or the node itself, from working: judged from plain data, no node needed.

`doctor.py` looks at the graph and listens for a while; this module says what is wrong with what it saw. Each finding
names the topic, the peer and what to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rclpy.qos import QoSProfile

from hand_depth_ros.errors import CameraError, ImageError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.topics import COMPRESSED_DEPTH, other_transport, sibling_camera_info
from hand_depth_ros.ros.qos import BEST_EFFORT, incompatible_publisher, incompatible_subscriber

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
COLOUR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "rgb16", "bgr16", "mono16")
"""What depth_image_proc's xyzrgb, rviz's DepthCloud or rtabmap take as the colour beside a depth image."""
STAMPS_KEPT = 50
FRAGMENT_BYTES = 64_000
"""What one UDP datagram holds at most: larger messages go in several, and by best effort no lost one comes again."""


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription as the graph tells of it."""

    node: str  # fully qualified
    type: str
    qos: QoSProfile


@dataclass
class Heard:
    """What came on a topic while we listened: how many messages in how many seconds, the last of them."""

    count: int = 0
    seconds: float = 0.0
    last: Any = None
    stamps: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.count / self.seconds if self.seconds else 0.0


@dataclass
class Topic:
    """A topic with all its ends, and what was heard on it (None: not listened to)."""

    name: str
    publishers: list[Endpoint] = field(default_factory=list)
    subscriptions: list[Endpoint] = field(default_factory=list)
    heard: Heard | None = None

    @property
    def type(self) -> str:
        """As the first end names it."""
        return next((end.type for end in (*self.publishers, *self.subscriptions)), "")


@dataclass
class Graph:
    """One hand depth node and its neighbours. `outputs` and `inputs` are names in `topics`; `around` are the other
    topics that its consumers read; `status` is level and message of its latest diagnostics."""

    node: str
    topics: dict[str, Topic]
    outputs: list[str]
    inputs: list[str]
    around: list[str] = field(default_factory=list)
    status: tuple[int, str] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, where, and the cure (unless `problem` says it). `breaks`: it keeps somebody from
    working."""

    topic: str
    peer: str
    problem: str
    cure: str = ""
    breaks: bool = True


def findings(graph: Graph) -> list[Finding]:
    """Everything that is wrong with `graph`."""
    found = [*_inputs(graph), *_outputs(graph)]
    if graph.status is not None and graph.status[0] > 0 and not any(f.breaks for f in found):
        level, message = graph.status
        found.append(Finding("/diagnostics", graph.node, message, "see docs/operating.md", breaks=level > 1))
    return found


def _inputs(graph: Graph) -> Iterable[Finding]:
    heard = {}
    if not graph.inputs and graph.outputs:
        cure = f"it is not active: ros2 lifecycle set {graph.node} activate"
        yield Finding("", graph.node, "reads no camera", cure)
    for name in graph.inputs:
        topic = graph.topics[name]
        ours = next((end for end in topic.subscriptions if end.node == graph.node), None)
        if not topic.publishers:
            transport, other = other_transport(name)
            cure = "start the camera, or remap image (camera_info goes with it)"
            if topic.type != CAMERA_INFO and _published(graph, other):
                cure = f"set image_transport to {transport}, {other} is published"
            yield Finding(name, "", "nobody publishes it", cure)
            continue
        for publisher in topic.publishers:
            if ours is None:
                continue
            if publisher.type != ours.type:
                cure = "remap image to the colour topic, set image_transport to raw or compressed as it is"
                yield Finding(name, publisher.node, f"is {publisher.type}, not {ours.type}", cure)
            elif reason := incompatible_publisher(name, publisher.node, publisher.qos, ours.qos):
                yield Finding(name, publisher.node, reason)
        if len(topic.publishers) > 1:
            nodes = ", ".join(end.node for end in topic.publishers)
            yield Finding(name, nodes, "more than one publisher", "leave one running", breaks=False)
        if topic.heard is not None and not topic.heard.count:
            yield Finding(
                name,
                topic.publishers[0].node,
                "has a publisher, but nothing comes",
                "check the camera; images too large for best effort need config/fastdds_large_images.xml",
            )
        elif topic.heard is not None and ours is not None and topic.type == ours.type:
            heard[ours.type] = topic
    yield from _pair(heard.get(IMAGE) or heard.get(COMPRESSED_IMAGE), heard.get(CAMERA_INFO))


def _pair(image: Topic | None, info: Topic | None) -> Iterable[Finding]:
    """The colour image and its camera_info, by what was heard of both."""
    size = None
    if image is not None and image.heard is not None:
        try:
            size = decode_image(image.heard.last).shape[1::-1]
        except ImageError as error:
            yield Finding(
                image.name, image.publishers[0].node, str(error), "change it at the camera, or remap image"
            )
    if info is None or info.heard is None:
        return
    try:
        camera = Camera.from_camera_info(info.heard.last)
    except CameraError as error:
        yield Finding(info.name, info.publishers[0].node, str(error).rstrip("."), "or remap camera_info")
        return
    if size is not None and size != (camera.width, camera.height):
        yield Finding(
            info.name,
            info.publishers[0].node,
            f"camera_info is {camera.width}x{camera.height} but the image is {size[0]}x{size[1]}",
            "remap camera_info to the one published beside this image, or fix its size, roi or binning",
        )


def _outputs(graph: Graph) -> Iterable[Finding]:
    if not graph.outputs:
        cure = f"it is not configured: ros2 lifecycle set {graph.node} configure, then activate"
        yield Finding("", graph.node, "reads no camera and publishes no depth", cure)
    for name in graph.outputs:
        topic = graph.topics[name]
        ours = next(end for end in topic.publishers if end.node == graph.node)
        for other in topic.publishers:
            if other.node != graph.node:
                yield Finding(name, other.node, "publishes on the node's topic", "remap one of the two")
        if sum(end.node == graph.node for end in topic.publishers) > 1:
            yield Finding(name, graph.node, "two nodes of this name publish it", "end one, or rename it")
        for consumer in topic.subscriptions:
            if consumer.type != ours.type:
                yield Finding(name, consumer.node, f"wants {consumer.type}, not {ours.type}", "remap it")
            elif reason := incompatible_subscriber(name, consumer.node, ours.qos, consumer.qos):
                yield Finding(name, consumer.node, reason)
            elif consumer.qos.reliability == BEST_EFFORT:
                yield from _fragile(graph, topic, consumer.node)
            if ours.type == IMAGE:
                yield from _camera_infos(graph, name, consumer.node)
                yield from _colours(graph, topic, consumer.node)


def _fragile(graph: Graph, topic: Topic, consumer: str) -> Iterable[Finding]:
    """Does a best effort consumer read messages that go in several fragments? A cloud isn't listened to: it is taken
    for large, as those of a hand are."""
    last = None if topic.heard is None else topic.heard.last
    if topic.type == IMAGE and (last is None or len(last.data) <= FRAGMENT_BYTES):
        return
    if topic.type not in (IMAGE, POINT_CLOUD):
        return
    size = "clouds" if last is None else f"images of {len(last.data) / 1e3:.0f} KB"
    compressed = (
        name
        if (name := topic.name + COMPRESSED_DEPTH) in graph.outputs
        else "a depth image's compressedDepth"
    )
    yield Finding(
        topic.name,
        consumer,
        f"reads {size} best effort: over a link that loses packets (Wi-Fi) one lost fragment costs the whole message",
        f"ask for reliable there, or read {compressed}",
        breaks=False,
    )


def _camera_infos(graph: Graph, image: str, consumer: str) -> Iterable[Finding]:
    """Does a consumer of one of our images find a camera_info?"""
    beside = sibling_camera_info(image)
    if not _published(graph, beside):
        yield Finding(
            beside, consumer, f"nobody publishes the camera_info beside {image}", "remap the two alike"
        )
    for name in _read_by(graph, consumer, CAMERA_INFO):
        if not _published(graph, name):
            cure = f"remap its camera_info to {beside}"
            yield Finding(name, consumer, "waits for a camera_info that nobody publishes", cure)


def _colours(graph: Graph, depth: Topic, consumer: str) -> Iterable[Finding]:
    """Does the colour that a consumer reads beside our depth go with it? By size, frame, stamp and encoding."""
    ours = None if depth.heard is None else depth.heard.last
    for name in _read_by(graph, consumer, IMAGE):
        heard = graph.topics[name].heard
        if not _published(graph, name):
            yield Finding(
                name,
                consumer,
                "nobody publishes this image: a consumer that pairs it with our depth waits for ever",
                f"remap it to the colour image that the node reads ({', '.join(_colour_inputs(graph))}), or relay the colour",
                breaks=False,
            )
            continue
        if name in graph.outputs or heard is None or heard.last is None:
            continue
        colour = heard.last
        if colour.encoding not in COLOUR_ENCODINGS and not colour.encoding.startswith(("8U", "16U", "32F")):
            yield Finding(
                name,
                consumer,
                f"encoding {colour.encoding} beside our depth: most consumers take {', '.join(COLOUR_ENCODINGS[:5])}",
                "set the camera to rgb8 or bgr8",
                breaks=False,
            )
        if ours is None:
            continue
        if (colour.width, colour.height) != (ours.width, ours.height):
            yield Finding(
                name,
                consumer,
                f"the image is {colour.width}x{colour.height}, the depth {depth.name} "
                f"{ours.width}x{ours.height}: they don't go together",
                f"remap it to the colour image that the node reads ({', '.join(_colour_inputs(graph))})",
            )
        elif colour.header.frame_id != ours.header.frame_id:
            frames = f"frame {colour.header.frame_id!r}, the depth {ours.header.frame_id!r}"
            yield Finding(
                name, consumer, frames, "leave depth_frame_id empty, or relay the colour", breaks=False
            )
        elif not set(heard.stamps) & set(depth.heard.stamps if depth.heard else ()):
            yield Finding(
                name,
                consumer,
                f"no stamp of it is one of {depth.name}",
                "remap it to the node's colour image",
            )


def _colour_inputs(graph: Graph) -> list[str]:
    return [name for name in graph.inputs if graph.topics[name].type != CAMERA_INFO]


def _published(graph: Graph, name: str) -> bool:
    return name in graph.topics and bool(graph.topics[name].publishers)


def _read_by(graph: Graph, node: str, kind: str) -> Sequence[str]:
    """Topics of a type that a node subscribes to."""
    return [
        name
        for name, topic in graph.topics.items()
        if any(end.node == node and end.type == kind for end in topic.subscriptions)
    ]
