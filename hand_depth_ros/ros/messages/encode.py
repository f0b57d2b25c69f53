"""Encode depth, sigma, masks, images and point clouds as the fields of ROS messages.

No rclpy here: the node and the bag tool both call these functions. Each returns the message's
fields except the header as a dict; `data` is a contiguous uint8 array (N,), little-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.depth_encoding import METRES, MILLIMETRES, from_metres, is_valid

Fields = dict[str, Any]
FLOAT32 = 7
"""sensor_msgs/PointField.FLOAT32."""
MAX_SLOPE = 7.0
"""Steepest plausible surface: depth change per pixel, in pixel widths at that depth (82°)."""


def encode_depth_mm(depth: np.ndarray) -> Fields:
    """Encode `depth` (H, W, metres, NaN = invalid) as 16UC1 in millimetres, 0 = invalid."""
    return _image(from_metres(depth, MILLIMETRES), MILLIMETRES)


def encode_depth_m(depth: np.ndarray) -> Fields:
    """Encode `depth` (H, W, metres, NaN = invalid) as 32FC1: never 0, never infinite."""
    return _image(from_metres(depth, METRES), METRES)


def encode_sigma(sigma: np.ndarray, depth: np.ndarray) -> Fields:
    """Encode `sigma` (H, W, metres) as 32FC1; NaN wherever `depth` is invalid."""
    metres = np.where(is_valid(depth) & (sigma < np.inf), sigma, np.nan).astype(np.float32)
    return _image(metres, METRES)


def encode_mask(mask: np.ndarray) -> Fields:
    """Encode `mask` (H, W) uint8, the hand number of each pixel (0 = none), as mono8."""
    return _image(np.ascontiguousarray(mask, dtype=np.uint8), "mono8")


def encode_rgb(rgb: np.ndarray) -> Fields:
    """Encode `rgb` (H, W, 3) uint8 as rgb8."""
    return _image(np.ascontiguousarray(rgb, dtype=np.uint8), "rgb8")


def encode_points(
    depth: np.ndarray,
    rgb: np.ndarray,
    camera: Camera,
    organized: bool = False,
    remove_flying_pixels: bool = True,
) -> Fields:
    """Encode hand points, undistorted, as PointCloud2 (x y z rgb).

    Args:
        depth: (H, W) metres along the optical axis, NaN = invalid.
        rgb: (H, W, 3) uint8, colour of each pixel; packed as PCL and rviz read it, 0x00RRGGBB in a
            float32.
        camera: Camera of both.
        organized: True: one point per pixel, in image order, NaN where invalid. False: valid points
            only.
        remove_flying_pixels: Take pixels that float between two surfaces for invalid.
    """
    height, width = depth.shape
    valid = is_valid(depth)
    if remove_flying_pixels:
        valid &= ~flying_pixels(depth, min(camera.fx, camera.fy))
    rays = np.asarray(camera.rays())
    if organized:
        xyz, colours = np.where(valid, depth, np.nan)[..., None] * rays, rgb
    else:
        xyz, colours = depth[valid][:, None] * rays[valid], rgb[valid]
        finite = np.isfinite(xyz).all(-1)  # a lens may have pixels without a ray
        xyz, colours = xyz[finite], colours[finite]
    cloud = np.empty(xyz.shape[:-1], dtype=[("xyz", "<f4", 3), ("rgb", "<u4")])
    cloud["xyz"], cloud["rgb"] = xyz, pack_rgb(colours)
    rows, columns = (height, width) if organized else (1, cloud.size)
    return {
        "height": rows,
        "width": columns,
        "fields": [
            {"name": name, "offset": 4 * index, "datatype": FLOAT32, "count": 1}
            for index, name in enumerate(("x", "y", "z", "rgb"))
        ],
        "is_bigendian": False,
        "point_step": 16,
        "row_step": 16 * columns,
        "data": cloud.reshape(-1).view(np.uint8),
        "is_dense": not organized,
    }


def flying_pixels(depth: np.ndarray, focal: float) -> np.ndarray:
    """Return where `depth` (H, W, metres, NaN = invalid) floats between two surfaces: (H, W) bool.

    At an edge inside a hand (a finger in front of the palm) the estimate passes from one depth to
    the other within a pixel or two. A pixel is flying if, along its row or its column, every valid
    neighbour differs in depth by more than MAX_SLOPE pixel widths (z / focal). A pixel beside a
    clean step keeps the neighbour on its own surface.
    """
    flying = np.zeros(depth.shape, bool)
    valid = is_valid(depth)
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    if not rows.size:
        return flying
    hands = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    known = np.where(valid[hands], depth[hands], np.nan)
    for axis in (0, 1):
        steps = np.abs(np.diff(known, axis=axis))
        border = np.full_like(np.take(known, [0], axis=axis), np.nan)
        before, after = (np.concatenate(pair, axis=axis) for pair in ((border, steps), (steps, border)))
        nearest = np.fmin(before, after)  # NaN only without any neighbour
        flying[hands] |= nearest > MAX_SLOPE / focal * known
    return flying


def pack_rgb(rgb: np.ndarray) -> np.ndarray:
    """Return the colours (..., 3) uint8 as 0x00RRGGBB, uint32 (...)."""
    wide = rgb.astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _image(pixels: np.ndarray, encoding: str) -> Fields:
    height, width = pixels.shape[:2]
    return {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels.strides[0],
        "data": pixels.reshape(-1).view(np.uint8),
    }
