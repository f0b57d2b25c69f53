"""Colour image messages to RGB arrays, without guessing.

No rclpy here: a message is anything with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage, so
the messages of rclpy and of rosbags decode alike. `step` (padded rows) and `is_bigendian` (16-bit encodings
only) are honoured. What cannot be read for certain raises `ImageError` saying what was given and what would
do.

cv_bridge converts when it is installed and healthy (`cv_bridge_converter`), OpenCV itself otherwise: the
result is the same, because cv_bridge is only used for the encodings where it was seen to give the same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages.cv_bridge_converter import cv_bridge_converter

MAX_PIXELS = 64_000_000
"""Largest image that is decoded: more than any camera on a robot, less than what would exhaust its memory."""
_PNG_MAGIC, _PNG_CHANNELS = b"\x89PNG\r\n\x1a\n", {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEFLATE_AT_MOST = 1032
"""Bytes that one byte of deflated data can stand for (zlib's technical details)."""
_TAIL = 64
"""Bytes in which a whole picture has its end mark: some cameras put a few of their own behind it."""
_JPEG_PIXELS_A_BYTE = 512
"""Pixels that one byte of Huffman-coded jpeg can stand for: a bit for each 8 x 8 block (ITU T.81, F.1.2)."""
_JPEG_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""Second bytes that begin no segment with a length: stuffing, TEM, RSTn, SOI, EOI. None stands in a header."""


@dataclass(frozen=True)
class Encoding:
    """How an encoding lays a pixel out: `channels` samples of `dtype`; OpenCV's code to RGB (None: it is)."""

    dtype: str
    channels: int
    to_rgb: int | None
    even_width: bool = False


# sensor_msgs names a Bayer pattern by its first row, OpenCV by its second row, second column: rggb is
# COLOR_BayerBG.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
ENCODINGS: dict[str, Encoding] = {
    **{
        f"{name}{bits}": Encoding(f"u{bits // 8}", channels, code)
        for bits in (8, 16)
        for name, channels, code in (
            ("rgb", 3, None),
            ("bgr", 3, cv2.COLOR_BGR2RGB),
            ("rgba", 4, cv2.COLOR_RGBA2RGB),
            ("bgra", 4, cv2.COLOR_BGRA2RGB),
            ("mono", 1, cv2.COLOR_GRAY2RGB),
            *((f"bayer_{pattern}", 1, code) for pattern, code in _BAYER.items()),
        )
    },
    **{name: Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY, even_width=True) for name in ("uyvy", "yuv422")},
    **{name: Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV, even_width=True) for name in ("yuyv", "yuv422_yuy2")},
    "nv12": Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV12, even_width=True),
    "nv21": Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV21, even_width=True),
}
_SEMI_PLANAR = ("nv12", "nv21")
_DEPTH_LIKE = re.compile(r"(8|16|32|64)[USF]C\d+")


def decode_image(msg: Any) -> np.ndarray:
    """Decode a colour message.

    Args:
        msg: sensor_msgs/Image or sensor_msgs/CompressedImage (jpeg or png), of rclpy or of rosbags.

    Returns:
        RGB, uint8, (H, W, 3), C-contiguous and writable. It may share memory with the message.

    Raises:
        ImageError: The fields contradict each other, the encoding is not a colour encoding, data is missing.
    """
    return _decode_compressed(msg) if hasattr(msg, "format") else _decode_raw(msg)


def _decode_raw(msg: Any) -> np.ndarray:
    width, height, step, name = int(msg.width), int(msg.height), int(msg.step), str(msg.encoding)
    encoding = _encoding(name)
    _check_size(width, height)
    if encoding.even_width and width % 2:
        raise ImageError(
            f"{name} images have an even width, this one is {width} wide: fix the camera's output format"
        )
    pixel = encoding.channels * int(encoding.dtype[1])
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
    return _to_rgb(np.ascontiguousarray(pixels, dtype=encoding.dtype), name)


def _to_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """Contiguous native-endian pixels of encoding `name` to RGB uint8; cv_bridge or OpenCV does the
    arithmetic."""
    if name == "rgb8":
        return pixels if pixels.flags.writeable else pixels.copy()
    if name.startswith("bayer") and min(pixels.shape) < 2:
        raise ImageError(
            f"a {name} image needs at least 2x2 pixels, this one is {pixels.shape[1]}x{pixels.shape[0]}"
        )
    convert = cv_bridge_converter(name, opencv_to_rgb) or opencv_to_rgb
    return np.ascontiguousarray(convert(pixels, name))


def opencv_to_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """Contiguous pixels of encoding `name` to RGB uint8 (H, W, 3). 16 bits become 8 by rounding v * 255 /
    65535."""
    code = ENCODINGS[name].to_rgb
    rgb = pixels if code is None else cv2.cvtColor(pixels, code)
    return rgb if rgb.dtype == np.uint8 else cv2.convertScaleAbs(rgb, alpha=255.0 / 65535.0)


def _decode_compressed(msg: Any) -> np.ndarray:
    declared = str(msg.format)
    if "compressedDepth" in declared:
        raise ImageError(f"format {declared[:80]!r} is a depth image: remap image to a colour topic")
    data = _bytes_of(msg.data)
    if data.size == 0:
        raise ImageError("data is empty: check the camera driver")
    data = _without_padding(data)
    width, height = _compressed_size(data)
    pixels = _uncompressed(data)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise ImageError(
            f"the {data.size} bytes of compressed data do not decode: check the camera driver and the link"
        )
    if pixels.ndim == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    source = declared.split(";")[0].strip()
    mosaic = source.startswith("bayer_") and source in ENCODINGS
    return _to_rgb(pixels, f"{source.rstrip('0123456789')}8" if mosaic else "mono8")


def _uncompressed(data: np.ndarray) -> np.ndarray | None:
    """The picture as OpenCV has it, None where it is none."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f"the compressed data do not decode: {str(error).strip()[:200]}") from error


def _without_padding(data: np.ndarray) -> np.ndarray:
    """Without the zeros behind it that some drivers fill their buffers up with."""
    if data[-_TAIL:].any():
        return data
    used = np.flatnonzero(data)
    return data[: int(used[-1]) + 1] if used.size else data


def _compressed_size(data: np.ndarray) -> tuple[int, int]:
    """(width, height) that the header of whole jpeg or png data declares, read before any memory is taken.

    Raises:
        ImageError: It is neither, it is cut off, or so few bytes cannot hold so many pixels (a decompression bomb, or
            data that was lost: the decoder would take the memory and fill it with grey).
    """
    raw = data.data
    if bytes(raw[:8]) == _PNG_MAGIC:
        if b"IEND" not in bytes(raw[-_TAIL:]):
            raise ImageError(
                "the png data is truncated (it has no end): check the link between camera and node"
            )
        width, height, fewest = _png_header(raw)
    elif bytes(raw[:2]) == b"\xff\xd8":
        if b"\xff\xd9" not in bytes(raw[-_TAIL:]):
            raise ImageError(
                "the jpeg data is truncated (it has no end): check the link between camera and node"
            )
        width, height = _jpeg_size(raw)
        fewest = width * height // _JPEG_PIXELS_A_BYTE
    else:
        raise ImageError(
            "compressed data is neither jpeg nor png: set the camera's compressed transport to one of them"
        )
    _check_size(width, height)
    if data.size < fewest:
        raise ImageError(
            f"the compressed data claims {width}x{height} but has only {data.size} bytes, {fewest} are the fewest "
            "that could be: check the camera driver and the link"
        )
    return width, height


def _png_header(raw: memoryview) -> tuple[int, int, int]:
    """Width, height, and the fewest bytes that a png with this header can have."""
    bits, colour = bytes(raw[24:26]) if len(raw) >= 33 else (0, -1)
    if bytes(raw[8:16]) != b"\x00\x00\x00\x0dIHDR" or colour not in _PNG_CHANNELS:
        raise ImageError("the png data has no proper header: check the camera driver and the link")
    width, height = int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    return width, height, height * (width * bits * _PNG_CHANNELS[colour] // 8) // _DEFLATE_AT_MOST


def _jpeg_size(raw: memoryview) -> tuple[int, int]:
    """Width and height in the first frame header. Whatever a decoder might read in another way is refused."""
    position = 2
    while position + 9 <= len(raw) and raw[position] == 0xFF:
        marker, length = raw[position + 1], int.from_bytes(raw[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _JPEG_WITHOUT_LENGTH or length < 2:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return (
                int.from_bytes(raw[position + 7 : position + 9], "big"),
                int.from_bytes(raw[position + 5 : position + 7], "big"),
            )
        position += 2 + length
    raise ImageError("the jpeg data has no frame header: check the camera driver and the link")


def _encoding(name: str) -> Encoding:
    if name in ENCODINGS:
        return ENCODINGS[name]
    if _DEPTH_LIKE.fullmatch(name):
        raise ImageError(
            f"encoding {name[:40]!r} does not name its colours (depth looks so): remap image to a colour topic"
        )
    raise ImageError(
        f"encoding {name[:40]!r} is not supported: "
        "set the camera to rgb8, bgr8, mono8, yuyv, uyvy, nv12, nv21 or bayer"
    )


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise ImageError(f"the image is {width}x{height}: it has no pixels, check the camera driver")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image claims {width}x{height}, more than {MAX_PIXELS:,} pixels: check the camera driver"
        )


def _rows_in(size: int, height: int, step: int, row_bytes: int, name: str) -> int:
    """Rows of bytes in the buffer: `height`, or half as many again where chroma rows follow (nv12, nv21).

    For nv12 and nv21 drivers disagree: `height` counts the picture's rows or all the rows. The data's length
    tells.
    """
    rows = height
    if name in _SEMI_PLANAR and size != step * height:
        rows = height * 3 // 2
    if name in _SEMI_PLANAR and rows % 3:
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
    """The data field (array('B'), bytes, numpy or a sequence) as uint8 (N,), without a copy where it has a
    buffer."""
    try:
        return np.frombuffer(data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError):
        return np.asarray(list(data), dtype=np.uint8)
