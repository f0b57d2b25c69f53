"""compressedDepth as the subscriber of compressed_depth_image_transport reads it.

The readers here are independent, written from the format (12-byte C struct, PNG).
"""

from __future__ import annotations

import ctypes
import math
import re

import cv2
import numpy as np
import pytest

from hand_depth_ros.ros.messages.compressed_depth import compress_depth
from hand_depth_ros.ros.messages.encode import Fields, encode_depth_m, encode_depth_mm


class ConfigHeader(ctypes.LittleEndianStructure):
    """struct ConfigHeader { compressionFormat format; float depthParam[2]; } of the transport."""

    _fields_ = (("format", ctypes.c_int32), ("a", ctypes.c_float), ("b", ctypes.c_float))


def read(fields: Fields) -> np.ndarray:
    """Decode like the C++ subscriber, in its float32 arithmetic: uint16, or float32 with NaN."""
    found = re.fullmatch(r"(16UC1|32FC1); compressedDepth png", fields["format"])
    assert found, fields["format"]
    data = bytes(fields["data"])
    header = ConfigHeader.from_buffer_copy(data)
    assert ctypes.sizeof(header) == 12 and header.format == 0
    assert data[12:20] == b"\x89PNG\r\n\x1a\n"
    codes = cv2.imdecode(np.frombuffer(data[12:], np.uint8), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16 and codes.ndim == 2
    if found[1] == "16UC1":
        return codes
    with np.errstate(divide="ignore"):
        metres = np.float32(header.a) / (codes.astype(np.float32) - np.float32(header.b))
    assert metres.dtype == np.float32
    return np.where(codes > 0, metres, np.float32(np.nan))


def hand(near: float, far: float, background: float = math.nan) -> np.ndarray:
    depth = np.full((48, 65), background, np.float32)
    depth[10:30, 20:50] = np.linspace(near, far, 600, dtype=np.float32).reshape(20, 30)
    return depth


def test_millimetres_are_lossless() -> None:
    depth = hand(0.1, 65.535)
    image = encode_depth_mm(depth)
    expected = image["data"].view("<u2").reshape(depth.shape)
    assert expected.max() == 65535 and expected.min() == 0
    assert np.array_equal(read(compress_depth(image)), expected)


@pytest.mark.parametrize("background", [math.nan, 4.0, 65.0], ids=["no background", "4 m", "65 m"])
@pytest.mark.parametrize("span", [(0.05, 0.06), (0.1, 2.0), (0.4, 0.6), (0.5, 0.5), (19.0, 20.0)], ids=str)
def test_metres_are_exact_to_half_a_quantization_step(span: tuple[float, float], background: float) -> None:
    depth = hand(*span, background)
    fields = compress_depth(encode_depth_m(depth))
    got = read(fields)
    assert np.array_equal(np.isnan(got), np.isnan(depth))
    valid = ~np.isnan(depth)
    a = ConfigHeader.from_buffer_copy(bytes(fields["data"])).a
    true = depth[valid].astype(np.float64)
    rounding = 4 * np.finfo(np.float32).eps * true
    assert np.all(np.abs(got[valid] - true) <= 0.505 * true**2 / a + rounding)


def test_hand_depth_is_exact_to_ten_micrometres() -> None:
    """The C++ publisher's fixed quantization errs by up to 25 µm, and fails below 0.152 m."""
    for depth in (hand(0.1, 0.3), hand(0.4, 0.6), hand(0.4, 0.6, background=4.0)):
        got = read(compress_depth(encode_depth_m(depth)))
        assert np.abs(got - depth)[10:30, 20:50].max() < 1e-5


def test_image_without_hand_is_all_invalid() -> None:
    nothing = np.full((24, 33), np.nan, np.float32)
    assert np.isnan(read(compress_depth(encode_depth_m(nothing)))).all()
    assert not read(compress_depth(encode_depth_mm(nothing))).any()


def test_pillow_decodes_the_same_pixels() -> None:
    """Pillow's PNG decoder is independent of OpenCV's encoder."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (pip install pillow)")
    import io

    depth = hand(0.3, 0.7)
    data = bytes(compress_depth(encode_depth_mm(depth))["data"])
    pixels = np.asarray(image.open(io.BytesIO(data[12:])))
    expected = np.where(np.isnan(depth), 0, np.rint(depth.astype(np.float64) * 1000))
    assert np.array_equal(pixels, expected)


def test_empty_depth_compresses_well() -> None:
    image = encode_depth_mm(np.pad(hand(0.4, 0.6), ((200, 232), (280, 295)), constant_values=np.nan))
    assert image["data"].size == 480 * 640 * 2
    assert compress_depth(image)["data"].size < 0.03 * image["data"].size
