"""JPEG and PNG data, checked before any decoder allocates memory for it. No rclpy here."""

from __future__ import annotations

import cv2
import numpy as np

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages import jpeg
from hand_depth_ros.ros.messages.encodings import validate_size

_PNG_MAGIC, _PNG_CHANNELS = b"\x89PNG\r\n\x1a\n", {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MAX_DEFLATE_RATIO = 1032
"""Most bytes that one byte of deflated data can stand for (zlib's technical details)."""
_TAIL = 64
"""Bytes at the end that must hold the end mark: some cameras append a few of their own."""
_MAX_JPEG_PIXELS_PER_BYTE = 512
"""Most pixels per byte of Huffman-coded JPEG: one bit per 8 x 8 block (ITU T.81, F.1.2)."""
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk of a PNG."""
_GREY_ROWS = 8
"""Rows of a block: the fewest that missing JPEG data leaves grey."""
_GREY_CONTRAST = 32
"""Least range of pixel values of an image that is not grey all over."""


def decode_compressed(data: np.ndarray, eight_bits: bool = False) -> np.ndarray:
    """Decode whole JPEG or PNG data, uint8 (N,).

    Args:
        data: The file's bytes.
        eight_bits: True: reduce a 16-bit PNG to 8 bits.

    Returns:
        OpenCV's pixels: (H, W) grey or (H, W, 3) BGR, as stored (EXIF orientation ignored); uint8,
        or uint16 for a 16-bit PNG.

    Raises:
        ImageError: The data is neither, truncated, or claims an implausible size.
    """
    if data.size == 0:
        raise ImageError("data is empty: check the camera driver")
    data = _strip_zeros(data)
    width, height = compressed_size(data)
    depth = 0 if eight_bits or not _is_16_bit_png(data) else cv2.IMREAD_ANYDEPTH
    pixels = _imdecode(data, depth | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise ImageError(
            f"the {data.size} bytes of compressed data do not decode: check the camera driver and the link"
        )
    return pixels


def compressed_size(data: np.ndarray) -> tuple[int, int]:
    """Return (width, height) from the header of whole JPEG or PNG data.

    Raises:
        ImageError: It is neither, it is truncated, or so few bytes cannot hold so many pixels (a
            decompression bomb, or lost data: the decoder would allocate the memory and fill it with
            grey).
    """
    raw = data.data
    if bytes(raw[:8]) == _PNG_MAGIC:
        if b"IEND" not in bytes(raw[-_TAIL:]) and _PNG_END not in bytes(raw):
            raise ImageError(
                "the png data is truncated (it has no end): check the link between camera and node"
            )
        width, height, fewest = _png_header(raw)
    elif is_jpeg(data):
        width, height = jpeg.frame_size(raw)
        if jpeg.scan(data).end is None:
            raise ImageError(
                "the jpeg data is truncated (it has no end): check the link between camera and node"
            )
        fewest = width * height // _MAX_JPEG_PIXELS_PER_BYTE
    else:
        raise ImageError(
            "compressed data is neither jpeg nor png: set the camera's compressed transport to one of them"
        )
    validate_size(width, height)
    if data.size < fewest:
        raise ImageError(
            f"the compressed data claims {width}x{height} but has only {data.size} bytes where at least {fewest} "
            "are needed: check the camera driver and the link"
        )
    return width, height


def is_jpeg(data: np.ndarray) -> bool:
    """Return whether the data begins like a JPEG."""
    return bytes(data[:2]) == b"\xff\xd8"


def find_damage(data: np.ndarray, pixels: np.ndarray) -> str:
    """Return what shows that JPEG data lost a part although it was decoded to `pixels`, or "".

    Decoders put up with it: they fill what is missing with grey or decode noise.
    """
    if not is_jpeg(data):
        return ""
    found = jpeg.scan(data).damage
    if not found and _has_grey_end(pixels):
        found = "it ends early, the rest of the image is grey"
    return found and f"the jpeg data is damaged ({found}): check the link between camera and node"


def _has_grey_end(pixels: np.ndarray) -> bool:
    """Return whether the last rows have the grey of libjpeg for missing data, and others do not."""
    grey = np.abs(pixels[-_GREY_ROWS:].astype(np.int16) - 128) <= 1
    return bool(grey.all()) and bool(np.ptp(pixels[:: _GREY_ROWS // 2, ::4]) > _GREY_CONTRAST)


def _is_16_bit_png(data: np.ndarray) -> bool:
    return bytes(data[:8]) == _PNG_MAGIC and data[24] == 16


def _imdecode(data: np.ndarray, flags: int) -> np.ndarray | None:
    """Return the image as OpenCV decodes it, None where it cannot."""
    try:
        return cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(f"the compressed data does not decode: {str(error).strip()[:200]}") from error


def _strip_zeros(data: np.ndarray) -> np.ndarray:
    """Return the data without trailing zeros, with which some drivers fill their buffers."""
    if data[-_TAIL:].any():
        return data
    used = np.flatnonzero(data)
    return data[: int(used[-1]) + 1] if used.size else data


def _png_header(raw: memoryview) -> tuple[int, int, int]:
    """Return width, height, and the fewest bytes that a PNG with this header can have."""
    bits, colour = bytes(raw[24:26]) if len(raw) >= 33 else (0, -1)
    if bytes(raw[8:16]) != b"\x00\x00\x00\x0dIHDR" or colour not in _PNG_CHANNELS:
        raise ImageError("the png data has no proper header: check the camera driver and the link")
    width, height = int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    return width, height, height * (width * bits * _PNG_CHANNELS[colour] // 8) // _MAX_DEFLATE_RATIO
