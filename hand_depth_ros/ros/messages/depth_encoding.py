"""The two depth encodings, as REP 118 and depth_image_proc (depth_traits.hpp) define them.

    16UC1  millimetres, uint16; 0 is invalid
    32FC1  metres, float32; NaN and infinities are invalid

Whoever reads or writes depth pixels converts here. Inside this package depth is float metres, NaN =
invalid.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hand_depth_ros.errors import ImageError
from hand_depth_ros.estimation.quantize import depth_to_mm

MILLIMETRES = "16UC1"
METRES = "32FC1"
UNTYPED = re.compile(r"(8|16|32|64)[USF]C\d+")
"""Encodings that name a pixel's type and not its meaning: depth images and matrices have them."""

_DTYPES = {MILLIMETRES: "u2", METRES: "f4"}


def is_valid(metres: np.ndarray) -> np.ndarray:
    """Return where depth in metres is a measurement: positive and finite. Bool, same shape."""
    return (metres > 0.0) & (metres < np.inf)


def from_metres(metres: np.ndarray, encoding: str) -> np.ndarray:
    """Convert depth in metres to the pixels of an encoding.

    Args:
        metres: (H, W) float; whatever is not positive and finite is invalid.
        encoding: MILLIMETRES or METRES.

    Returns:
        A new C-contiguous array (H, W): uint16, rounded to nearest, 0 where invalid or beyond
        65.535 m; or float32, NaN where invalid.
    """
    if encoding == METRES:
        pixels = np.array(metres, dtype=np.float32, order="C")
        pixels[~is_valid(pixels)] = np.nan
        return pixels
    return depth_to_mm(metres)


def to_metres(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """Convert the pixels of an encoding to depth in metres: float32, NaN = invalid."""
    unit = np.float32(1.0 if encoding == METRES else 1e-3)
    metres = pixels.astype(np.float32) * unit
    return np.where(is_valid(metres), metres, np.float32(np.nan))


def pixels_of(data: np.ndarray, height: int, width: int, encoding: str) -> np.ndarray:
    """View unpadded little-endian data, uint8 (N,), as the depth pixels (height, width)."""
    return data.view(f"<{_DTYPES[encoding]}").reshape(height, width)


def decode_depth(msg: Any) -> np.ndarray:
    """Decode a sensor_msgs/Image of depth to metres: float32 (H, W), NaN = invalid.

    mono16 is read as 16UC1: some drivers call it so.

    Raises:
        ImageError: It is no depth image, or has too few bytes.
    """
    encoding = MILLIMETRES if msg.encoding == "mono16" else str(msg.encoding)
    if encoding not in _DTYPES:
        raise ImageError(
            f"the depth image is {encoding[:40]}: 16UC1 (millimetres) or 32FC1 (metres) is needed"
        )
    dtype = np.dtype((">" if msg.is_bigendian else "<") + _DTYPES[encoding])
    data = np.frombuffer(memoryview(msg.data), np.uint8)
    row = msg.width * dtype.itemsize
    if msg.step < row or data.size < msg.height * msg.step:
        raise ImageError(f"the depth image has {data.size} bytes in rows of {msg.step}: too few for its size")
    rows = data[: msg.height * msg.step].reshape(msg.height, msg.step)[:, :row]
    return to_metres(np.ascontiguousarray(rows).view(dtype), encoding)
