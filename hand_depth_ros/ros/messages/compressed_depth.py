"""Depth images as `compressedDepth`, byte for byte as compressed_depth_image_transport writes them.

Its subscribers (image_transport, rviz, rtabmap, rosbag2 tools) read the result. No rclpy here.

The data is a 12-byte header and a 16-bit PNG. The header is the C struct `{int32 format; float
depthParam[2]}`, little-endian, format 0 = inverse depth. 16UC1 goes into the PNG unchanged:
lossless. 32FC1 becomes q = A / z + B, read back as z = A / (q - B), with A and B in depthParam and
q = 0 for invalid.

The C++ publisher takes A and B from two parameters, whatever the image holds: q then overflows
below 0.152 m and has steps of 0.1 mm at 1 m. Readers take A and B from the header, so here they are
fitted to each image: its nearest depth is 65535, nothing overflows, and the steps are as fine as 16
bits allow (see `fit_quantization`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hand_depth_ros.ros.messages.depth_encoding import MILLIMETRES, is_valid, pixels_of

if TYPE_CHECKING:
    from hand_depth_ros.ros.messages.encode import Fields

INVERSE_DEPTH = 0
PNG_LEVEL = 1
"""zlib's fastest. Depth of hands is mostly zeros, which every level shrinks well."""
_MAX_CODE, _MIN_CODE = 65535, 1
_FAR_MARGIN = 1.02
"""Farthest codable depth over the image's farthest: an image of one depth gets a scale, too."""


def compress_depth(image: Fields) -> Fields:
    """Convert the fields of a 16UC1 or 32FC1 Image to those of a CompressedImage (no header)."""
    encoding = image["encoding"]
    pixels = pixels_of(image["data"], image["height"], image["width"], encoding)
    codes, parameters = (pixels, (0.0, 0.0)) if encoding == MILLIMETRES else quantize_inverse(pixels)
    png = cv2.imencode(".png", codes, (cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL))[1]
    header = np.frombuffer(struct.pack("<iff", INVERSE_DEPTH, *parameters), np.uint8)
    return {"format": f"{encoding}; compressedDepth png", "data": np.concatenate((header, png.reshape(-1)))}


def fit_quantization(nearest: float, farthest: float) -> tuple[float, float]:
    """Return A and B, as float32 holds them, for depths from `nearest` to `farthest` metres.

    q = A / z + B is 65535 at the nearest and 1 just beyond the farthest. One step of q is z² / A
    metres: for a hand at 0.4 to 0.6 m 0.003 mm, with a background at 4 m behind it 0.006 mm at the
    hand.
    """
    a = np.float32((_MAX_CODE - _MIN_CODE) / (1.0 / nearest - 1.0 / (_FAR_MARGIN * farthest)))
    return float(a), float(np.float32(_MAX_CODE - float(a) / nearest))


def quantize_inverse(metres: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Quantize float32 (H, W), NaN = invalid, to uint16, 0 = invalid; also return A and B."""
    codes = np.zeros(metres.shape, np.uint16)
    valid = is_valid(metres)
    if not valid.any():
        return codes, (1.0, 0.0)
    depths = metres[valid].astype(np.float64)
    a, b = fit_quantization(depths.min(), depths.max())
    codes[valid] = np.rint(a / depths + b).clip(_MIN_CODE, _MAX_CODE).astype(np.uint16)
    return codes, (a, b)
