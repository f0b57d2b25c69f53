"""Decode colour image messages to RGB arrays; reject what cannot be decoded reliably.

No rclpy here: a message is anything with the fields of sensor_msgs/Image or
sensor_msgs/CompressedImage, so the messages of rclpy and of rosbags decode alike. `step` (padded
rows) and `is_bigendian` (16-bit encodings only) are honoured.

cv_bridge converts where it is installed and works (`cv_bridge_converter`), else OpenCV. The result
is the same: cv_bridge is used only for the encodings where it gave the same bytes.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages.compressed_image import decode_compressed
from hand_depth_ros.ros.messages.cv_bridge_converter import cv_bridge_converter
from hand_depth_ros.ros.messages.encodings import ENCODINGS, SEMI_PLANAR, lookup_encoding, validate_size


def decode_image(msg: Any) -> np.ndarray:
    """Decode a colour image message.

    Args:
        msg: sensor_msgs/Image or sensor_msgs/CompressedImage (JPEG or PNG), of rclpy or of rosbags.

    Returns:
        RGB, uint8, (H, W, 3), C-contiguous and writable. It may share memory with the message.

    Raises:
        ImageError: Its fields contradict each other, the encoding is no colour encoding, or data is
            missing.
    """
    return _decode_compressed_msg(msg) if hasattr(msg, "format") else _decode_raw_msg(msg)


def opencv_to_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """Convert contiguous pixels of encoding `name` to RGB uint8 (H, W, 3).

    16 bits become 8 by v * 255 / 65535, rounded.
    """
    code = ENCODINGS[name].to_rgb
    rgb = pixels if code is None else cv2.cvtColor(pixels, code)
    return rgb if rgb.dtype == np.uint8 else cv2.convertScaleAbs(rgb, alpha=255.0 / 65535.0)


def _decode_raw_msg(msg: Any) -> np.ndarray:
    return _to_rgb(raw_pixels(msg), str(msg.encoding))


def raw_pixels(msg: Any) -> np.ndarray:
    """Return the pixels of a sensor_msgs/Image in its own encoding, contiguous and native-endian.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16; (3 H / 2, W) for nv12 and nv21.

    Raises:
        ImageError: Its fields contradict each other or data is missing.
    """
    width, height, step, name = int(msg.width), int(msg.height), int(msg.step), str(msg.encoding)
    encoding = lookup_encoding(name)
    validate_size(width, height)
    if encoding.even_width and width % 2:
        raise ImageError(
            f"{name} images have an even width, this one is {width} wide: fix the camera's output format"
        )
    pixel = encoding.pixel_bytes
    if step < width * pixel:
        raise ImageError(
            f"step is {step} but a row of {width} {name} pixels needs {width * pixel} bytes: "
            "fix step in the camera driver"
        )
    data = _bytes_of(msg.data)
    rows = _rows_in(data.size, height, step, width * pixel, name)
    order = ">" if msg.is_bigendian and encoding.dtype == "u2" else "<"
    pixels = np.ndarray(
        shape=(rows, width) if encoding.channels == 1 else (rows, width, encoding.channels),
        dtype=np.dtype(f"{order}{encoding.dtype}"),
        buffer=data,
        strides=(step, pixel) if encoding.channels == 1 else (step, pixel, pixel // encoding.channels),
    )
    return np.ascontiguousarray(pixels, dtype=encoding.dtype)


def _to_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """Convert contiguous native-endian pixels of encoding `name` to RGB uint8."""
    if name == "rgb8":
        return pixels if pixels.flags.writeable else pixels.copy()
    if name.startswith("bayer") and min(pixels.shape) < 2:
        raise ImageError(
            f"a {name} image needs at least 2x2 pixels, this one is {pixels.shape[1]}x{pixels.shape[0]}"
        )
    convert = cv_bridge_converter(name, opencv_to_rgb) or opencv_to_rgb
    return np.ascontiguousarray(convert(pixels, name))


def _decode_compressed_msg(msg: Any) -> np.ndarray:
    declared = str(msg.format)
    if "compressedDepth" in declared:
        raise ImageError(f"format {declared[:80]!r} is a depth image: remap image to a colour topic")
    pixels = decode_compressed(_bytes_of(msg.data))
    if pixels.ndim == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    source = declared.split(";")[0].strip()
    mosaic = source.startswith("bayer_") and source in ENCODINGS
    return _to_rgb(pixels, f"{source.rstrip('0123456789')}8" if mosaic else "mono8")


def _rows_in(size: int, height: int, step: int, row_bytes: int, name: str) -> int:
    """Return the rows of bytes in the data: `height`, or 3/2 of it where chroma rows follow.

    For nv12 and nv21 drivers disagree whether `height` counts the rows of the image or all rows;
    the size of the data tells.
    """
    rows = height
    if name in SEMI_PLANAR and size != step * height:
        rows = height * 3 // 2
    if name in SEMI_PLANAR and rows % 3:
        raise ImageError(
            f"{name} images have an even height, this one is {height}: fix the camera's output format"
        )
    if size == 0:
        raise ImageError("data is empty: check the camera driver")
    if not step * (rows - 1) + row_bytes <= size <= step * rows:
        raise ImageError(
            f"data has {size} bytes but step {step} times {rows} rows is {step * rows}: "
            "it is truncated or step is wrong, check the camera driver and the link"
        )
    return rows


def _bytes_of(data: Any) -> np.ndarray:
    """Return the data (array, bytes, NumPy or a sequence) as uint8 (N,), a view if possible."""
    try:
        return np.frombuffer(data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError):
        return np.asarray(list(data), dtype=np.uint8)
