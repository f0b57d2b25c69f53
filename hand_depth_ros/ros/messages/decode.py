"""Decode colour image messages to RGB arrays; reject what cannot be decoded reliably.

No rclpy here: a message is anything with the fields of sensor_msgs/Image or
sensor_msgs/CompressedImage, so the messages of rclpy and of rosbags decode alike. `step` (padded
rows) and `is_bigendian` (16-bit encodings only) are honoured.

cv_bridge converts where it is installed and works (`cv_bridge_converter`), else OpenCV. The result
is the same: cv_bridge is used only for the encodings where it gave the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import ImageError
from hand_depth_ros.estimation.bit_depth import CONTAINER_BITS, BitDepth, scale_to_8_bits
from hand_depth_ros.ros.messages.compressed_image import decode_compressed, find_damage
from hand_depth_ros.ros.messages.cv_bridge_converter import cv_bridge_converter
from hand_depth_ros.ros.messages.encodings import (
    ENCODINGS,
    SEMI_PLANAR,
    resolve_encoding,
    validate_size,
)
from hand_depth_ros.ros.messages.settings import DecodeSettings

_DEPTH_FORMAT = re.compile(r"\s*(16|32|64)[USF]C1\b|.*depth", re.IGNORECASE | re.DOTALL)
"""CompressedImage.format of depth images: "16UC1; png compressed ", "32FC1; compressedDepth"."""
_MAX_PADDING_ROWS = 128
"""Most rows that a driver adds below each plane of an nv12 image, to align its height."""


DEFAULT_SETTINGS = DecodeSettings()


class ImageDecoder:
    """Decodes the images of one camera; remembers their bit depth from image to image.

    Attributes:
        damage: What is wrong with the data of the latest image although it was decoded, or "".
    """

    def __init__(
        self, settings: DecodeSettings = DEFAULT_SETTINGS, report: Callable[[str], None] | None = None
    ) -> None:
        """Call `report` with a sentence when a bit depth is found, once for each."""
        self.settings = settings
        self.damage = ""
        self._depth = BitDepth(settings.bit_depth)
        self._report = report
        self._reported: set[int] = set()

    @property
    def bit_depth(self) -> int | None:
        """Bit depth of 16-bit images; None before the first one that shows it."""
        return self._depth.bits

    def decode(self, msg: Any) -> np.ndarray:
        """Decode one message; see `decode_image`."""
        self.damage = ""
        return self._decode_compressed(msg) if hasattr(msg, "format") else self._decode_raw(msg)

    def _decode_raw(self, msg: Any) -> np.ndarray:
        name = resolve_encoding(str(msg.encoding), self.settings.untyped_encoding)
        pixels = raw_pixels(msg, name)
        return _to_rgb(pixels, name, self._bits_of(pixels))

    def _decode_compressed(self, msg: Any) -> np.ndarray:
        declared = str(msg.format)
        if _DEPTH_FORMAT.match(declared):
            raise ImageError(f"format {declared[:80]!r} is a depth image: remap image to a colour topic")
        data = _bytes_of(msg.data)
        pixels = decode_compressed(data)
        self.damage = find_damage(data, pixels)
        bits = self._bits_of(pixels)
        if bits == CONTAINER_BITS:
            pixels = decode_compressed(data, eight_bits=True)
        if pixels.ndim == 3:
            return _to_rgb(pixels, f"bgr{8 * pixels.itemsize}", bits)
        source = declared.split(";")[0].strip()
        name = source.rstrip("0123456789") if source.startswith("bayer_") and source in ENCODINGS else "mono"
        return _to_rgb(pixels, f"{name}{8 * pixels.itemsize}", bits)

    def _bits_of(self, pixels: np.ndarray) -> int:
        """Return the bit depth of an image; must see every image once."""
        if pixels.dtype != np.uint16:
            return 8
        before = self._depth.bits
        bits = self._depth.update(pixels)
        if self._depth.bits == before or (before is None and bits == CONTAINER_BITS):
            return bits  # what the encoding says needs no words
        if self._report is not None and bits not in self._reported:
            self._reported.add(bits)
            self._report(
                f"the 16-bit images hold {bits}-bit values and are read as such: set bit_depth if that is wrong"
            )
        return bits


def decode_image(msg: Any) -> np.ndarray:
    """Decode one colour image message on its own.

    Args:
        msg: sensor_msgs/Image or sensor_msgs/CompressedImage (JPEG or PNG), of rclpy or of rosbags.

    Returns:
        RGB, uint8, (H, W, 3), C-contiguous and writable. It may share memory with the message.

    Raises:
        ImageError: Its fields contradict each other, the encoding is no colour encoding, or data is
            missing.
    """
    return ImageDecoder().decode(msg)


def _to_rgb(pixels: np.ndarray, name: str, bits: int) -> np.ndarray:
    """Convert contiguous native-endian pixels of encoding `name` to RGB uint8."""
    if name == "rgb8":
        return pixels if pixels.flags.writeable else pixels.copy()
    if name.startswith("bayer") and min(pixels.shape) < 2:
        raise ImageError(
            f"a {name} image needs at least 2x2 pixels, this one is {pixels.shape[1]}x{pixels.shape[0]}"
        )
    if pixels.dtype == np.uint16 and bits != CONTAINER_BITS:
        return np.ascontiguousarray(opencv_to_rgb(pixels, name, bits))
    convert = cv_bridge_converter(name, opencv_to_rgb) or opencv_to_rgb
    return np.ascontiguousarray(convert(pixels, name))


def opencv_to_rgb(pixels: np.ndarray, name: str, bits: int = CONTAINER_BITS) -> np.ndarray:
    """Convert contiguous pixels of encoding `name` to RGB uint8 (H, W, 3).

    16-bit pixels become 8-bit by v * 255 / (2**bits - 1), rounded.
    """
    code = ENCODINGS[name].to_rgb
    rgb = pixels if code is None else cv2.cvtColor(pixels, code)
    return rgb if rgb.dtype == np.uint8 else scale_to_8_bits(rgb, bits)


def raw_pixels(msg: Any, name: str) -> np.ndarray:
    """Return the pixels of a sensor_msgs/Image, contiguous and native-endian.

    Args:
        msg: The message.
        name: Its encoding, a key of ENCODINGS.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16; (3 H / 2, W) for nv12 and nv21.

    Raises:
        ImageError: Its fields contradict each other or data is missing.
    """
    width, height, step = int(msg.width), int(msg.height), int(msg.step)
    encoding = ENCODINGS[name]
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
    if name in SEMI_PLANAR:
        data = _without_row_padding(data, height, step)
    rows = _rows_in(data.size, height, step, width * pixel, name)
    order = ">" if msg.is_bigendian and encoding.dtype == "u2" else "<"
    pixels = np.ndarray(
        shape=(rows, width) if encoding.channels == 1 else (rows, width, encoding.channels),
        dtype=np.dtype(f"{order}{encoding.dtype}"),
        buffer=data,
        strides=(step, pixel) if encoding.channels == 1 else (step, pixel, pixel // encoding.channels),
    )
    return np.ascontiguousarray(pixels, dtype=encoding.dtype)


def _without_row_padding(data: np.ndarray, height: int, step: int) -> np.ndarray:
    """Return nv12 or nv21 data without the rows that a driver added below each plane.

    Hardware decoders align the height to 8, 16, 32, ... rows: 1080 rows are stored as 1088.
    """
    stored, rest = divmod(2 * data.size, 3 * step)
    added = stored - height
    aligned = any(stored == -(-height // multiple) * multiple for multiple in (8, 16, 32, 64, 128))
    if rest or stored % 2 or height % 2 or not 0 < added < _MAX_PADDING_ROWS or not aligned:
        return data
    luma, chroma = data[: step * height], data[step * stored : step * (stored + height // 2)]
    return np.concatenate((luma, chroma))


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
