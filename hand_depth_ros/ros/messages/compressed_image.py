"""JPEG and PNG data, checked before any decoder allocates memory for it. No rclpy here."""

from __future__ import annotations

import cv2
import numpy as np

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages.encodings import validate_size

_PNG_MAGIC, _PNG_CHANNELS = b"\x89PNG\r\n\x1a\n", {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MAX_DEFLATE_RATIO = 1032
"""Most bytes that one byte of deflated data can stand for (zlib's technical details)."""
_TAIL = 64
"""Bytes at the end that must hold the end mark: some cameras append a few of their own."""
_MAX_JPEG_PIXELS_PER_BYTE = 512
"""Most pixels per byte of Huffman-coded JPEG: one bit per 8 x 8 block (ITU T.81, F.1.2)."""
_JPEG_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""Second bytes of markers without a length: stuffing, TEM, RSTn, SOI, EOI."""


def decode_compressed(data: np.ndarray) -> np.ndarray:
    """Decode whole JPEG or PNG data, uint8 (N,).

    Returns:
        OpenCV's pixels: uint8 (H, W) grey or (H, W, 3) BGR, as stored (EXIF orientation ignored).

    Raises:
        ImageError: The data is neither, truncated, or claims an implausible size.
    """
    if data.size == 0:
        raise ImageError("data is empty: check the camera driver")
    data = _strip_zeros(data)
    width, height = compressed_size(data)
    pixels = _imdecode(data)
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


def _imdecode(data: np.ndarray) -> np.ndarray | None:
    """Return the image as OpenCV decodes it, None where it cannot."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
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


def _jpeg_size(raw: memoryview) -> tuple[int, int]:
    """Return (width, height) from the frame header; reject what decoders may read differently."""
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
