"""Measure hand lengths in a bag that has a registered depth camera beside the colour one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track

from hand_depth_ros.bag.reader import BagReader, find_topic
from hand_depth_ros.calibration.lengths import REFERENCE_LENGTH_M, LengthMeasurement, measure_frame
from hand_depth_ros.errors import BagError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.depth_encoding import decode_depth
from hand_depth_ros.ros.messages.stamps import stamp_ns
from hand_depth_ros.ros.messages.topics import sibling_camera_info

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

MAX_STAMP_GAP_NS = 50_000_000
"""Maximum difference of the stamps of a colour and a depth image that belong together."""

MAX_IMAGES = 60
"""Maximum number of colour images used, evenly spread over the bag."""

_IMAGE, _COMPRESSED, _INFO = (
    f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "CameraInfo")
)


def measure_bag(
    path: Path, image: str, depth: str, camera_info: str | None, estimator: HandDepthEstimator
) -> list[LengthMeasurement]:
    """Measure the hands of a bag's colour topic with its depth topic as the truth.

    Raises:
        BagError: A topic is missing, or the depth image is not registered to the colour image.
    """
    with BagReader(path) as reader:
        for note in reader.notes:
            print(f"hand-depth: {note}", file=sys.stderr)
        camera = _read_camera(reader, image, camera_info)
        partners = _pair_stamps(reader, image, depth)
        wanted = set(partners.values())
        truths = {
            stamp: depth_of(msg, camera)
            for msg in _messages(reader, depth, (_IMAGE,), "--depth")
            if (stamp := stamp_ns(msg.header)) in wanted
        }
        measurements = []
        messages = _messages(reader, image, (_IMAGE, _COMPRESSED), "--image")
        chosen = (msg for msg in messages if stamp_ns(msg.header) in partners)
        for msg in track(chosen, "calibrate", len(partners), console=Console(stderr=True)):
            stamp = stamp_ns(msg.header)
            rgb = decode_image(msg)
            frame = estimator.estimate(rgb, camera, hand_length_m=REFERENCE_LENGTH_M, track=False)
            measurements += measure_frame(frame, truths[partners[stamp]], stamp * 1e-9)
    return measurements


def _read_camera(reader: BagReader, image: str, camera_info: str | None) -> Camera:
    topic = camera_info or sibling_camera_info(image.removesuffix("/compressed"))
    info = next(_messages(reader, topic, (_INFO,), "--camera-info"), None)
    if info is None:
        raise BagError(f"{topic} has no messages in this bag: name another topic with --camera-info")
    return Camera.from_camera_info(info)


def _pair_stamps(reader: BagReader, image: str, depth: str) -> dict[int, int]:
    """Return at most MAX_IMAGES colour stamps, each with the nearest depth stamp."""
    depths = sorted(stamp_ns(msg.header) for msg in _messages(reader, depth, (_IMAGE,), "--depth"))
    if not depths:
        raise BagError(f"{depth} has no messages in this bag: name another topic with --depth")
    colours = [stamp_ns(msg.header) for msg in _messages(reader, image, (_IMAGE, _COMPRESSED), "--image")]
    partners = _partners(colours, depths)
    if not partners:
        raise BagError(
            f"no image of {image} has one of {depth} within {MAX_STAMP_GAP_NS / 1e6:g} ms of its stamp: "
            "are they from the same camera?"
        )
    return partners


def depth_of(msg: Any, camera: Camera) -> np.ndarray:
    """Return metres (H, W) float32, NaN where invalid, of a 16UC1 (mm) or 32FC1 (m) depth image.

    Raises:
        BagError: It is not registered to the colour camera.
        ImageError: It has another encoding, or too few bytes for its size.
    """
    if (msg.width, msg.height) != (camera.width, camera.height):
        raise BagError(
            f"the depth image is {msg.width}x{msg.height}, the colour image {camera.width}x{camera.height}: "
            "give the depth topic that is registered to colour (aligned_depth_to_color, depth_registered)"
        )
    return decode_depth(msg)


def _partners(colours: list[int], depths: list[int]) -> dict[int, int]:
    """Pair evenly spread colour stamps with the nearest depth stamp within MAX_STAMP_GAP_NS."""
    known = np.array(depths)
    pairs = []
    for stamp in sorted(set(colours)):
        nearest = int(known[np.argmin(np.abs(known - stamp))])
        if abs(nearest - stamp) <= MAX_STAMP_GAP_NS:
            pairs.append((stamp, nearest))
    if len(pairs) > MAX_IMAGES:
        pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, MAX_IMAGES).round().astype(int)]
    return dict(pairs)


def _messages(reader: BagReader, topic: str, msgtypes: tuple[str, ...], option: str) -> Any:
    """Iterate over the messages of a topic; BagError lists the topics that would fit."""
    name = find_topic(reader, topic, msgtypes, option)
    topics = [one for one in reader.connections if one.topic == name and one.is_ros2]
    return (reader.read(message.connection, message.data) for message in reader.messages(topics))
