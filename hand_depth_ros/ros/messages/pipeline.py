"""One frame through the whole way: image and camera_info messages in, message fields out. No rclpy here.

The live node and the bag tool both call `process_frame`, so that they give the same bytes for the same frame.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hand_depth_ros.errors import CameraError
from hand_depth_ros.estimation.overlay import overlay
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.compressed_depth import compress_depth
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.encode import (
    Fields,
    encode_depth_m,
    encode_depth_mm,
    encode_mask,
    encode_points,
    encode_rgb,
    encode_sigma,
)
from hand_depth_ros.ros.messages.settings import OutputSettings

if TYPE_CHECKING:
    from hand_depth_ros.estimation.result import HandDepthFrame


class Estimator(Protocol):
    """What makes depth of a picture: `HandDepthEstimator`, or the node's that outlives its GPU."""

    def estimate(self, rgb: np.ndarray, camera: Camera) -> HandDepthFrame: ...


DEFAULT_SETTINGS = OutputSettings()


@dataclass
class ProcessedFrame:
    """One frame's results: message fields by topic, the estimate (None if not needed), times in ms."""

    outputs: dict[str, Fields]
    frame: HandDepthFrame | None
    timings: dict[str, float] = field(default_factory=dict)


def process_frame(
    estimator: Estimator,
    image: Any,
    camera_info: Any,
    wanted: Collection[str],
    settings: OutputSettings = DEFAULT_SETTINGS,
) -> ProcessedFrame:
    """Decode, estimate, encode.

    Args:
        estimator: Keeps the tracks from frame to frame.
        image: sensor_msgs/Image or CompressedImage, of rclpy or rosbags.
        camera_info: The sensor_msgs/CameraInfo that belongs to it.
        wanted: Names of `topics.OUTPUT_TOPICS`. Nothing is computed for the others; without any that needs
            it, no inference.
        settings: What to make of the estimate.

    Returns:
        The fields of each wanted message but its header. `depth_registered/camera_info` isn't among them: it
        is `camera_info` itself under the image's header, which the caller copies.

    Raises:
        ImageError: The image cannot be decoded.
        CameraError: The camera_info is unusable or of another image size.
    """
    if not wanted:
        return ProcessedFrame({}, None)
    start = time.perf_counter()
    camera = Camera.from_camera_info(camera_info, rectified=settings.image_is_rectified)
    rgb = decode_image(image)
    check_same_size(rgb, camera)
    if not topics.NEED_INFERENCE.intersection(wanted):
        return ProcessedFrame({}, None)
    decoded = time.perf_counter()
    frame = estimator.estimate(rgb, camera)
    estimated = time.perf_counter()
    outputs = encode_frame(frame, rgb, camera, wanted, settings)
    timings = {
        "decode": 1e3 * (decoded - start),
        "estimate": 1e3 * (estimated - decoded),
        "encode": 1e3 * (time.perf_counter() - estimated),
    }
    return ProcessedFrame(outputs, frame, timings)


def encode_frame(
    frame: HandDepthFrame, rgb: np.ndarray, camera: Camera, wanted: Collection[str], settings: OutputSettings
) -> dict[str, Fields]:
    """The message fields of each wanted topic for an estimate of `rgb` (H, W, 3)."""
    depth = frame.depth
    if settings.background == "far":
        depth = np.where(np.isnan(depth), np.float32(settings.far_m), depth)
    makers = {
        topics.DEPTH_MM: lambda: encode_depth_mm(depth),
        topics.DEPTH_M: lambda: encode_depth_m(depth),
        topics.SIGMA: lambda: encode_sigma(frame.sigma, frame.depth),
        topics.POINTS: lambda: encode_points(frame.depth, rgb, camera, settings.points_organized),
        topics.HAND_MASK: lambda: encode_mask(frame.mask),
        topics.DEBUG: lambda: encode_rgb(overlay(rgb, frame)),
    }
    compressed = [name.removesuffix(topics.COMPRESSED_DEPTH) for name in topics.COMPRESSED if name in wanted]
    made = {name: make() for name, make in makers.items() if name in wanted or name in compressed}
    outputs = {name: fields for name, fields in made.items() if name in wanted}
    return outputs | {name + topics.COMPRESSED_DEPTH: compress_depth(made[name]) for name in compressed}


def check_same_size(rgb: np.ndarray, camera: Camera) -> None:
    """Refuse an image that this camera_info does not describe: its depth would be wrong without a word."""
    height, width = rgb.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise CameraError(
            f"camera_info is {camera.width}x{camera.height} but the image is {width}x{height}: "
            "remap camera_info to the one published beside this image, or fix its width, height, roi, binning"
        )
