"""Meaning of the pixels of depth images, checked against the definitions of REP 118."""

from __future__ import annotations

import numpy as np
import pytest
from support import messages

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages.depth_encoding import (
    METRES,
    MILLIMETRES,
    decode_depth,
    from_metres,
    is_valid,
    to_metres,
)

INVALID = [np.nan, np.inf, -np.inf, 0.0, -0.5]


def test_invalid_depth_is_zero_in_millimetres_and_nan_in_metres() -> None:
    depth = np.array([[*INVALID, 0.5]], np.float32)
    assert is_valid(depth).tolist() == [[False] * 5 + [True]]
    assert from_metres(depth, MILLIMETRES).tolist() == [[0, 0, 0, 0, 0, 500]]
    metres = from_metres(depth, METRES)
    assert np.isnan(metres[0, :5]).all() and metres[0, 5] == 0.5


@pytest.mark.parametrize(("encoding", "step"), [(MILLIMETRES, 0.0005), (METRES, 0.0)])
def test_depth_survives_the_round_trip(encoding: str, step: float) -> None:
    depth = np.linspace(0.1, 65.0, 600, dtype=np.float32).reshape(20, 30)
    depth[3, 4] = np.nan
    again = to_metres(from_metres(depth, encoding), encoding)
    assert again.dtype == np.float32 and np.isnan(again[3, 4])
    assert np.nanmax(np.abs(again - depth)) <= step + 4e-6


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", [MILLIMETRES, METRES, "mono16"])
def test_decodes_padded_depth_in_either_byte_order(encoding: str, big: int) -> None:
    order = ">" if big else "<"
    pixels = np.array([[500, 0], [1234, 65535]], f"{order}u2")
    expected = np.array([[0.5, np.nan], [1.234, 65.535]], np.float32)
    if encoding == METRES:
        pixels = np.array([[0.5, np.nan], [1.234, np.inf]], f"{order}f4")
        expected[1, 1] = np.nan
    decoded = decode_depth(messages.image(pixels, encoding, pad=6, is_bigendian=big))
    assert np.allclose(decoded, expected, atol=1e-6, equal_nan=True)


def test_rejects_what_is_no_depth_image() -> None:
    with pytest.raises(ImageError, match="bgr8: 16UC1"):
        decode_depth(messages.image(np.zeros((4, 4, 3), np.uint8), "bgr8"))
    short = messages.image(np.zeros((4, 4), np.uint16), MILLIMETRES)
    short.data = short.data[:-2]
    with pytest.raises(ImageError, match="too few"):
        decode_depth(short)
