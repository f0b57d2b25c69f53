"""Depth, sigma, masks, pictures and clouds as the fields of ROS messages, for the node and the bag tool.

No rclpy here. Each function returns the message's fields but the header, as a dict; `data` is a contiguous
uint8 array (N,), little-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hand_depth_ros.estimation.quantize import depth_to_mm
from hand_depth_ros.geometry.camera import Camera

Fields = dict[str, Any]
FLOAT32 = 7
"""sensor_msgs/PointField.FLOAT32."""
STEEPEST = 7.0
"""Depth change from pixel to pixel, in pixel widths at that depth, that no surface shows (82 degrees off)."""


def encode_depth_mm(depth: np.ndarray) -> Fields:
    """16UC1 in millimetres, rounded to nearest; 0 where `depth` (H, W, metres) is NaN, not positive or beyond
    65.535 m."""
    return _image(depth_to_mm(depth), "16UC1")


def encode_depth_m(depth: np.ndarray) -> Fields:
    """32FC1 in metres; NaN where `depth` (H, W, metres) is not positive and finite: never 0, never Inf."""
    metres = np.array(depth, dtype=np.float32, order="C")
    metres[~((metres > 0.0) & (metres < np.inf))] = np.nan
    return _image(metres, "32FC1")


def encode_sigma(sigma: np.ndarray, depth: np.ndarray) -> Fields:
    """32FC1 in metres, one standard deviation; NaN wherever `depth` is invalid. Both (H, W)."""
    metres = np.where((depth > 0.0) & (depth < np.inf) & (sigma < np.inf), sigma, np.nan).astype(np.float32)
    return _image(metres, "32FC1")


def encode_mask(mask: np.ndarray) -> Fields:
    """mono8: the number of the hand that a pixel belongs to, 0 for none. (H, W) uint8."""
    return _image(np.ascontiguousarray(mask, dtype=np.uint8), "mono8")


def encode_rgb(rgb: np.ndarray) -> Fields:
    """rgb8 from (H, W, 3) uint8."""
    return _image(np.ascontiguousarray(rgb, dtype=np.uint8), "rgb8")


def encode_points(depth: np.ndarray, rgb: np.ndarray, camera: Camera, organised: bool = False) -> Fields:
    """PointCloud2 fields x y z rgb in the optical frame, lens distortion accounted for, without flying pixels.

    Args:
        depth: (H, W) metres along the optical axis, NaN = invalid.
        rgb: (H, W, 3) uint8, the colour of each point; packed as PCL and rviz read it, 0x00RRGGBB seen as
            float32.
        camera: The camera of both.
        organised: True: one point a pixel, row by row as the image, NaN where invalid. False: valid points
            only, unordered.
    """
    height, width = depth.shape
    valid = (depth > 0.0) & (depth < np.inf) & ~flying_pixels(depth, min(camera.fx, camera.fy))
    rays = np.asarray(camera.rays())
    if organised:
        xyz, colours = np.where(valid, depth, np.nan)[..., None] * rays, rgb
    else:
        xyz, colours = depth[valid][:, None] * rays[valid], rgb[valid]
        seen = np.isfinite(xyz).all(-1)  # a lens may have pixels without a ray
        xyz, colours = xyz[seen], colours[seen]
    cloud = np.empty(xyz.shape[:-1], dtype=[("xyz", "<f4", 3), ("rgb", "<u4")])
    cloud["xyz"], cloud["rgb"] = xyz, _packed(colours)
    rows, columns = (height, width) if organised else (1, cloud.size)
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
        "is_dense": not organised,
    }


def flying_pixels(depth: np.ndarray, focal: float) -> np.ndarray:
    """Where `depth` (H, W, metres, NaN = invalid) hangs between two surfaces instead of lying on one: (H, W) bool.

    At an edge inside the hand (a finger before the palm) an estimate goes from one depth to the other within a pixel
    or two; seen from the side those pixels fly. A pixel flies if along a row or a column every valid neighbour, one or
    two, is farther off in depth than STEEPEST pixel widths (z / focal). A pixel beside a clean step has its own surface
    on the other side, and stays.
    """
    flying = np.zeros(depth.shape, bool)
    valid = (depth > 0.0) & (depth < np.inf)
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
        flying[hands] |= nearest > STEEPEST / focal * known
    return flying


def _packed(rgb: np.ndarray) -> np.ndarray:
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
