"""Depth images as `compressedDepth`, to the letter of compressed_depth_image_transport, so that its subscribers
(image_transport, rviz, rtabmap, rosbag2 tools) read them. No rclpy here.

The data is a 12-byte header and a 16-bit PNG. The header is the C struct `{int32 format; float depthParam[2]}`,
little-endian, format 0 = inverse depth. 16UC1 goes into the PNG as it is: lossless. 32FC1 becomes q = A / z + B,
read back as z = A / (q - B), with A and B in depthParam and q = 0 for invalid.

The C++ publisher takes A and B from two parameters, whatever the image holds: q then overflows below 0.152 m
and has steps of 0.1 mm at 1 m. Readers take A and B from the header, so here they are fitted to each image: its
nearest depth is 65535, nothing overflows, and the steps are as fine as 16 bits allow (see `quantisation`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from hand_depth_ros.ros.messages.encode import Fields

INVERSE_DEPTH = 0
PNG_LEVEL = 1
"""zlib's fastest. Depth of hands is mostly zeros, which any level shrinks."""
_LARGEST, _SMALLEST = 65535, 1
_WIDEN = 1.02
"""The farthest codable depth over the farthest of the image: an image of one depth still has a scale."""


def compress_depth(image: Fields) -> Fields:
    """The fields of sensor_msgs/CompressedImage (but its header) for those of a 16UC1 or 32FC1 Image."""
    shape, encoding = (image["height"], image["width"]), image["encoding"]
    if encoding == "16UC1":
        pixels, parameters = image["data"].view("<u2").reshape(shape), (0.0, 0.0)
    else:
        pixels, parameters = _inverse(image["data"].view("<f4").reshape(shape))
    png = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL))[1]
    header = np.frombuffer(struct.pack("<iff", INVERSE_DEPTH, *parameters), np.uint8)
    return {"format": f"{encoding}; compressedDepth png", "data": np.concatenate((header, png.reshape(-1)))}


def quantisation(nearest: float, farthest: float) -> tuple[float, float]:
    """A and B (as float32 holds them) for depths of `nearest` to `farthest` metres.

    q = A / z + B is 65535 at the nearest and 1 just beyond the farthest. One step of q is z² / A metres: for a
    hand at 0.4 to 0.6 m 0.003 mm, with a background at 4 m behind it 0.006 mm at the hand.
    """
    a = np.float32((_LARGEST - _SMALLEST) / (1.0 / nearest - 1.0 / (_WIDEN * farthest)))
    return float(a), float(np.float32(_LARGEST - float(a) / nearest))


def _inverse(metres: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """uint16 (H, W), 0 = invalid, and its A and B, of float32 (H, W) with NaN = invalid."""
    codes = np.zeros(metres.shape, np.uint16)
    valid = metres > 0.0
    if not valid.any():
        return codes, (1.0, 0.0)
    depths = metres[valid].astype(np.float64)
    a, b = quantisation(depths.min(), depths.max())
    codes[valid] = np.rint(a / depths + b).clip(_SMALLEST, _LARGEST).astype(np.uint16)
    return codes, (a, b)
