"""Say what keeps the node or a consumer of it from working, judged from plain data; no node needed.

Each finding names the topic, the peer and what to change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hand_depth_ros.doctor.graph import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    POINT_CLOUD,
    Endpoint,
    Finding,
    Graph,
    Topic,
)
from hand_depth_ros.errors import CameraError, ImageError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.dds_profile import profile_settings
from hand_depth_ros.ros.messages.camera_info import complete_camera_info
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.topics import COMPRESSED_DEPTH, other_transport, sibling_camera_info
from hand_depth_ros.ros.qos import BEST_EFFORT, incompatible_publisher, incompatible_subscriber

COLOUR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "rgb16", "bgr16", "mono16")
"""The colour that depth_image_proc, rviz's DepthCloud or rtabmap take beside a depth image."""
FRAGMENT_BYTES = 64_000
"""Larger messages go in fragments, and best effort repeats no lost one."""
MAX_LOST_FRACTION = 0.05
MIN_LOST = 2
"""So many may have been under way when listening began or ended."""


def findings(graph: Graph) -> list[Finding]:
    """Return everything that is wrong with `graph`, each thing once."""
    found = list(dict.fromkeys((*_inputs(graph), *_outputs(graph))))
    if graph.status is not None and graph.status[0] > 0 and not any(f.breaks for f in found):
        level, message = graph.status
        found.append(Finding("/diagnostics", graph.node, message, "see docs/operating.md", breaks=level > 1))
    return found


# What the node reads


def _inputs(graph: Graph) -> Iterable[Finding]:
    if not graph.inputs and graph.outputs:
        cure = f"it is not active: ros2 lifecycle set {graph.node} activate"
        yield Finding("", graph.node, "reads no camera", cure)
    usable: dict[str, Topic] = {}
    for name in graph.inputs:
        topic = graph.topics[name]
        ours = next((end for end in topic.subscriptions if end.node == graph.node), None)
        if not topic.publishers:
            yield _unpublished(graph, topic)
            continue
        if ours is not None:
            yield from _publishers_of_input(topic, ours)
        if topic.heard is not None and not topic.heard.count:
            yield Finding(
                name,
                topic.publishers[0].node,
                "has a publisher, but nothing comes",
                f"check the camera; if it publishes best effort, restart it with {profile_settings()}",
            )
        elif topic.heard is not None and ours is not None and topic.type == ours.type:
            usable[ours.type] = topic
    image, info = usable.get(IMAGE) or usable.get(COMPRESSED_IMAGE), usable.get(CAMERA_INFO)
    # A node that is running decodes what it gets, if need be with its parameters' help.
    running = graph.status is not None and graph.status[1] == "running"
    yield from _image_and_camera_info(image, info, decodes=running)
    if image is not None and info is not None:
        yield from _lost_inputs(image, info)


def _unpublished(graph: Graph, topic: Topic) -> Finding:
    if topic.type == CAMERA_INFO and (assumed := graph.values.get("assumed camera")):
        problem = f"nobody publishes it, and the node assumes a camera ({assumed})"
        return Finding(topic.name, "", problem, "calibrate the camera for exact depth", breaks=False)
    transport, other = other_transport(topic.name)
    cure = "start the camera, or remap image (camera_info goes with it)"
    if topic.type != CAMERA_INFO and graph.is_published(other):
        cure = f"set image_transport to {transport}, {other} is published"
    return Finding(topic.name, "", "nobody publishes it", cure)


def _publishers_of_input(topic: Topic, ours: Endpoint) -> Iterable[Finding]:
    for publisher in topic.publishers:
        if publisher.type != ours.type:
            cure = "remap image to the colour topic, set image_transport to raw or compressed as it is"
            yield Finding(topic.name, publisher.node, f"is {publisher.type}, not {ours.type}", cure)
        elif reason := incompatible_publisher(topic.name, publisher.node, publisher.qos, ours.qos):
            yield Finding(topic.name, publisher.node, reason)
    if len(topic.publishers) > 1:
        nodes = ", ".join(end.node for end in topic.publishers)
        yield Finding(topic.name, nodes, "more than one publisher", "leave one running", breaks=False)


def _image_and_camera_info(image: Topic | None, info: Topic | None, decodes: bool) -> Iterable[Finding]:
    """Check the colour image and its camera_info, by what was heard of both.

    Args:
        image: The topic, if anything was heard on it.
        info: Likewise.
        decodes: The node decodes the image.
    """
    size = None
    if image is not None and image.heard is not None:
        try:
            size = decode_image(image.heard.last).shape[1::-1]
        except ImageError as error:
            cure = "change it at the camera, or remap image"
            if not decodes:
                yield Finding(image.name, image.publishers[0].node, str(error), cure)
    if info is None or info.heard is None:
        return
    try:
        camera = Camera.from_camera_info(info.heard.last)
    except CameraError as error:
        yield Finding(info.name, info.publishers[0].node, str(error).rstrip("."), "or remap camera_info")
        return
    _, filled_in = complete_camera_info(info.heard.last)
    if filled_in:
        cure = "calibrate the camera so that it publishes them; consumers of its own camera_info need them"
        yield Finding(info.name, info.publishers[0].node, filled_in, cure, breaks=False)
    if size is not None and size != (camera.width, camera.height):
        yield Finding(
            info.name,
            info.publishers[0].node,
            f"camera_info is {camera.width}x{camera.height} but the image is {size[0]}x{size[1]}",
            "remap camera_info to the one published beside this image, or fix its size, roi or binning",
        )


def _lost_inputs(image: Topic, info: Topic) -> Iterable[Finding]:
    """Count the camera_infos that came without the best-effort image of their stamp."""
    camera = image.publishers[0]
    if camera.qos.reliability != BEST_EFFORT or image.heard is None or info.heard is None:
        return
    stamps = set(image.heard.stamps)
    if not stamps.intersection(info.heard.stamps):  # they don't come in pairs
        return
    if lost := _lost_text(info.heard.stamps, image.heard.stamps):
        yield Finding(
            image.name,
            camera.node,
            f"publishes images best effort and {lost} are lost on the way",
            f"publish them reliable, or restart {camera.node} with {profile_settings()}",
        )


# What the node publishes


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
            yield from _consumer(graph, topic, ours, consumer)


def _consumer(graph: Graph, topic: Topic, ours: Endpoint, consumer: Endpoint) -> Iterable[Finding]:
    """Check one subscription to one of our outputs."""
    if consumer.type != ours.type:
        yield Finding(topic.name, consumer.node, f"wants {consumer.type}, not {ours.type}", "remap it")
    elif reason := incompatible_subscriber(topic.name, consumer.node, ours.qos, consumer.qos):
        yield Finding(topic.name, consumer.node, reason)
    elif consumer.qos.reliability == BEST_EFFORT:
        yield from _best_effort(graph, topic, consumer.node)
    if ours.type == IMAGE:
        yield from _camera_infos(graph, topic.name, consumer.node)
        yield from _colours(graph, topic, consumer.node)


def _best_effort(graph: Graph, topic: Topic, consumer: str) -> Iterable[Finding]:
    """Check a best-effort consumer: does it lose messages here, and would it over a lossy link?

    Clouds are not listened to; they are taken for large, as those of a hand are.
    """
    heard = topic.heard
    sampled = None if heard is None else heard.best_effort_stamps
    if heard is not None and sampled is not None and (lost := _lost_text(heard.stamps, sampled)):
        yield Finding(
            topic.name,
            consumer,
            f"reads best effort, and {lost} are lost so on this machine",
            f"ask for reliable there, or restart {graph.node} with {profile_settings()}",
        )
        return
    last = None if heard is None else heard.last
    if topic.type == IMAGE and (last is None or len(last.data) <= FRAGMENT_BYTES):
        return
    if topic.type not in (IMAGE, POINT_CLOUD):
        return
    size = "clouds" if last is None else f"images of {len(last.data) / 1e3:.0f} KB"
    compressed = topic.name + COMPRESSED_DEPTH
    if compressed not in graph.outputs:
        compressed = "a depth image's compressedDepth"
    yield Finding(
        topic.name,
        consumer,
        f"reads {size} best effort: over a link that loses packets (Wi-Fi) one lost fragment costs the "
        "whole message",
        f"ask for reliable there, or read {compressed}",
        breaks=False,
    )


def _camera_infos(graph: Graph, image: str, consumer: str) -> Iterable[Finding]:
    """Check that a consumer of one of our images finds a camera_info."""
    beside = sibling_camera_info(image)
    if not graph.is_published(beside):
        problem = f"nobody publishes the camera_info beside {image}"
        yield Finding(beside, consumer, problem, "remap the two alike")
    for name in graph.read_by(consumer, CAMERA_INFO):
        if not graph.is_published(name):
            cure = f"remap its camera_info to {beside}"
            yield Finding(name, consumer, "waits for a camera_info that nobody publishes", cure)


def _colours(graph: Graph, depth: Topic, consumer: str) -> Iterable[Finding]:
    """Check the colour images that a consumer of our depth reads beside it."""
    for name in graph.read_by(consumer, IMAGE):
        if not graph.is_published(name):
            yield Finding(
                name,
                consumer,
                "nobody publishes this image: a consumer that pairs it with our depth waits for ever",
                f"remap it to {_colour_inputs(graph)}, or relay the colour",
                breaks=False,
            )
        elif name not in graph.outputs:
            yield from _colour(graph, depth, graph.topics[name], consumer)


def _colour(graph: Graph, depth: Topic, colour: Topic, consumer: str) -> Iterable[Finding]:
    """Check that a colour image goes with our depth: by encoding, size, frame and stamps."""
    image = None if colour.heard is None else colour.heard.last
    ours = None if depth.heard is None else depth.heard.last
    if image is None or colour.heard is None:
        return
    if image.encoding not in COLOUR_ENCODINGS and not image.encoding.startswith(("8U", "16U", "32F")):
        usual = ", ".join(COLOUR_ENCODINGS[:5])
        problem = f"encoding {image.encoding} beside our depth: most consumers take {usual}"
        yield Finding(colour.name, consumer, problem, "set the camera to rgb8 or bgr8", breaks=False)
    if ours is None or depth.heard is None:
        return
    if (image.width, image.height) != (ours.width, ours.height):
        yield Finding(
            colour.name,
            consumer,
            f"the image is {_size(image)}, the depth {depth.name} {_size(ours)}: they don't go together",
            f"remap it to {_colour_inputs(graph)}",
        )
    elif image.header.frame_id != ours.header.frame_id:
        problem = f"frame {image.header.frame_id!r}, the depth {ours.header.frame_id!r}"
        cure = "leave depth_frame_id empty, or relay the colour"
        yield Finding(colour.name, consumer, problem, cure, breaks=False)
    elif not set(colour.heard.stamps) & set(depth.heard.stamps):
        problem = f"no stamp of it is one of {depth.name}"
        yield Finding(colour.name, consumer, problem, "remap it to the node's colour image")


def _size(image: Any) -> str:
    return f"{image.width}x{image.height}"


def _colour_inputs(graph: Graph) -> str:
    names = [name for name in graph.inputs if graph.topics[name].type != CAMERA_INFO]
    return f"the colour image that the node reads ({', '.join(names)})"


def _lost_text(sent: list[int], received: list[int]) -> str:
    """Return how many of the stamps sent were not received, as "N of M"; "" if as good as none."""
    lost = len(set(sent) - set(received))
    if lost <= MIN_LOST or lost <= MAX_LOST_FRACTION * len(set(sent)):
        return ""
    return f"{lost} of {len(set(sent))}"
