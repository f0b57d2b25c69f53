"""Process one frame: image and camera_info messages in, message fields out. No rclpy here.

The node and the bag tool both call `process_frame`, so they give the same bytes for the same frame.
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
from hand_depth_ros.ros.messages.decode import ImageDecoder
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
    """An estimator: `HandDepthEstimator`, or the node's, which survives the loss of its GPU."""

    def estimate(self, rgb: np.ndarray, camera: Camera) -> HandDepthFrame:
        """Estimate the depth of the hands in `rgb`."""
        ...


DEFAULT_SETTINGS = OutputSettings()


@dataclass
class ProcessedFrame:
    """Message fields by topic, the estimate (None if not needed), and durations in ms."""

    outputs: dict[str, Fields]
    frame: HandDepthFrame | None
    timings: dict[str, float] = field(default_factory=dict)
    rgb: np.ndarray | None = None


def process_frame(
    estimator: Estimator,
    image: Any,
    camera_info: Any,
    wanted: Collection[str],
    settings: OutputSettings = DEFAULT_SETTINGS,
    decoder: ImageDecoder | None = None,
) -> ProcessedFrame:
    """Decode the image, estimate depth, encode the wanted outputs.

    Args:
        estimator: Estimates depth and tracks hands from frame to frame.
        image: sensor_msgs/Image or CompressedImage, of rclpy or rosbags.
        camera_info: The sensor_msgs/CameraInfo of that image.
        wanted: Names of `topics.OUTPUT_TOPICS`. Only these are computed; none that needs inference,
            no inference.
        settings: Settings of the outputs.
        decoder: Decodes the images of this camera; None: a new one, which judges this image alone.

    Returns:
        The fields of each wanted message except its header. `depth_registered/camera_info` is not
        among them: the caller copies `camera_info` under the image's header.

    Raises:
        ImageError: The image cannot be decoded.
        CameraError: The camera_info is unusable or belongs to another image size.
    """
    if not wanted:
        return ProcessedFrame({}, None)
    start = time.perf_counter()
    camera = Camera.from_camera_info(camera_info, rectified=settings.image_is_rectified)
    rgb = (decoder or ImageDecoder()).decode(image)
    validate_same_size(rgb, camera)
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
    return ProcessedFrame(outputs, frame, timings, rgb)


def encode_frame(
    frame: HandDepthFrame, rgb: np.ndarray, camera: Camera, wanted: Collection[str], settings: OutputSettings
) -> dict[str, Fields]:
    """Return the message fields of each wanted topic for the estimate of `rgb` (H, W, 3)."""
    depth = frame.depth
    if settings.background == "far":
        depth = np.where(np.isnan(depth), np.float32(settings.far_m), depth)
    encoders = {
        topics.DEPTH_MM: lambda: encode_depth_mm(depth),
        topics.DEPTH_M: lambda: encode_depth_m(depth),
        topics.SIGMA: lambda: encode_sigma(frame.sigma, frame.depth),
        topics.POINTS: lambda: encode_points(
            frame.depth, rgb, camera, settings.points_organized, settings.remove_flying_pixels
        ),
        topics.HAND_MASK: lambda: encode_mask(frame.mask),
        topics.DEBUG: lambda: encode_rgb(overlay(rgb, frame)),
    }
    compressed = [name.removesuffix(topics.COMPRESSED_DEPTH) for name in topics.COMPRESSED if name in wanted]
    encoded = {name: encode() for name, encode in encoders.items() if name in wanted or name in compressed}
    outputs = {name: fields for name, fields in encoded.items() if name in wanted}
    return outputs | {name + topics.COMPRESSED_DEPTH: compress_depth(encoded[name]) for name in compressed}


def validate_same_size(rgb: np.ndarray, camera: Camera) -> None:
    """Raise CameraError if the camera has another image size: depth would be silently wrong."""
    height, width = rgb.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise CameraError(
            f"camera_info is {camera.width}x{camera.height} but the image is {width}x{height}: "
            "remap camera_info to the one published beside this image, or fix its width, height, roi, binning"
        )
