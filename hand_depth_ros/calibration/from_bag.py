"""Looks at a bag that has a real depth camera's topic beside the colour one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hand_depth_ros.calibration.lengths import REFERENCE_LENGTH_M, Look, looks_at
from hand_depth_ros.errors import BagError, ImageError
from hand_depth_ros.geometry.camera import Camera

if TYPE_CHECKING:
    from hand_depth_ros.bag.rosbag2 import BagReader
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

APART_NS = 50_000_000
"""Colour and depth that belong together have stamps no farther apart."""

PICTURES = 60
"""So many colour pictures, evenly spread over the bag, are looked at."""

_IMAGE, _COMPRESSED, _INFO = (
    f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "CameraInfo")
)


def looks_in_bag(
    path: Path, image: str, depth: str, camera_info: str | None, estimator: HandDepthEstimator
) -> list[Look]:
    """Looks at the hands of a bag's colour topic with the depth topic as the truth.

    Raises BagError for topics that are missing, or a depth image that is not registered to the colour image.
    """
    from rich.console import Console
    from rich.progress import track

    from hand_depth_ros.bag.rosbag2 import BagReader
    from hand_depth_ros.ros.messages.decode import decode_image
    from hand_depth_ros.ros.messages.stamps import stamp_ns
    from hand_depth_ros.ros.messages.topics import sibling_camera_info

    with BagReader(path) as reader:
        info_topic = camera_info or sibling_camera_info(image.removesuffix("/compressed"))
        info = next(_messages(reader, info_topic, (_INFO,), "--camera-info"), None)
        if info is None:
            raise BagError(f"{info_topic} has no messages in this bag: name another topic with --camera-info")
        camera = Camera.from_camera_info(info)
        stamps = sorted(stamp_ns(msg.header) for msg in _messages(reader, depth, (_IMAGE,), "--depth"))
        if not stamps:
            raise BagError(f"{depth} has no messages in this bag: name another topic with --depth")
        colours = [stamp_ns(msg.header) for msg in _messages(reader, image, (_IMAGE, _COMPRESSED), "--image")]
        partners = _partners(colours, stamps)
        if not partners:
            raise BagError(
                f"no image of {image} has one of {depth} within {APART_NS / 1e6:g} ms of its stamp: are they one camera's?"
            )
        wanted = set(partners.values())
        truths = {
            stamp: depth_of(msg, camera)
            for msg in _messages(reader, depth, (_IMAGE,), "--depth")
            if (stamp := stamp_ns(msg.header)) in wanted
        }
        looks = []
        messages = _messages(reader, image, (_IMAGE, _COMPRESSED), "--image")
        chosen = (msg for msg in messages if stamp_ns(msg.header) in partners)
        for msg in track(chosen, "calibrate", len(partners), console=Console(stderr=True)):
            stamp = stamp_ns(msg.header)
            rgb = decode_image(msg)
            frame = estimator.estimate(rgb, camera, hand_length_m=REFERENCE_LENGTH_M, track=False)
            looks += looks_at(frame, truths[partners[stamp]], stamp * 1e-9)
    return looks


def depth_of(msg: Any, camera: Camera) -> np.ndarray:
    """Metres (H, W) float32, NaN for no depth, of a 16UC1 (mm) or 32FC1 (m) image registered to the colour camera."""
    kinds = {"16UC1": ("u2", 1e-3), "mono16": ("u2", 1e-3), "32FC1": ("f4", 1.0)}
    if msg.encoding not in kinds:
        raise BagError(f"the depth image is {msg.encoding}: 16UC1 (millimetres) or 32FC1 (metres) is needed")
    if (msg.width, msg.height) != (camera.width, camera.height):
        raise BagError(
            f"the depth image is {msg.width}x{msg.height}, the colour image {camera.width}x{camera.height}: give the depth "
            "topic that is registered to colour (aligned_depth_to_color, depth_registered)"
        )
    name, unit = kinds[msg.encoding]
    dtype = np.dtype((">" if msg.is_bigendian else "<") + name)
    data = np.frombuffer(memoryview(msg.data), np.uint8)
    if msg.step < msg.width * dtype.itemsize or data.size < msg.height * msg.step:
        raise ImageError(f"the depth image has {data.size} bytes in rows of {msg.step}: too few for its size")
    rows = data[: msg.height * msg.step].reshape(msg.height, msg.step)[:, : msg.width * dtype.itemsize]
    metres = np.ascontiguousarray(rows).view(dtype).astype(np.float32) * np.float32(unit)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))


def _partners(colours: list[int], depths: list[int]) -> dict[int, int]:
    """Stamps of PICTURES colour images, evenly spread, to the nearest depth stamp; those without one are left out."""
    known = np.array(depths)
    pairs = []
    for stamp in sorted(set(colours)):
        nearest = int(known[np.argmin(np.abs(known - stamp))])
        if abs(nearest - stamp) <= APART_NS:
            pairs.append((stamp, nearest))
    if len(pairs) > PICTURES:
        pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, PICTURES).round().astype(int)]
    return dict(pairs)


def _messages(reader: BagReader, topic: str, msgtypes: tuple[str, ...], option: str) -> Any:
    """The messages of a topic; BagError that lists the topics that would do."""
    from hand_depth_ros.bag.convert import one_topic

    name = one_topic(reader, topic, msgtypes, option)
    connections = [connection for connection in reader.connections if connection.topic == name]
    return (reader.read(connection, data) for connection, _, data in reader.messages(connections))
