"""Bit depth told from the data: right, steady from image to image, and overridden by the user."""

from __future__ import annotations

import numpy as np
import pytest
from support import messages

from hand_depth_ros.errors import ImageError
from hand_depth_ros.estimation.bit_depth import BitDepth, scale_to_8_bits

SCENE = messages.sample_rgb(240, 320)


def sensor(bits: int, brightness: float = 1.0) -> np.ndarray:
    """Return the scene as a sensor of this bit depth sees it, uint16 (240, 320, 3)."""
    return np.rint(SCENE * (brightness * (2**bits - 1) / 255)).astype(np.uint16)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_bit_depth_is_told_from_the_data(bits: int) -> None:
    depth = BitDepth()
    assert depth.update(sensor(bits)) == bits and depth.bits == bits
    assert np.abs(scale_to_8_bits(sensor(bits), bits).astype(int) - SCENE).max() <= 1


def test_bit_depth_does_not_follow_the_light() -> None:
    """It is steady: clouds, a lens cap and a few broken pixels change nothing; only a rise does."""
    depth = BitDepth()
    assert depth.update(sensor(12)) == 12
    assert depth.update(sensor(12, 0.1)) == 12
    assert depth.update(np.zeros((240, 320), np.uint16)) == 12
    broken = sensor(12)
    broken[0, 0] = 65535
    assert depth.update(broken) == 12
    for _ in range(3):
        assert depth.update(sensor(14)) == 14
    for _ in range(60):
        assert depth.update(sensor(12)) == 14


def test_a_corrupt_image_changes_the_bit_depth_for_a_second_only() -> None:
    depth = BitDepth()
    noise = np.random.default_rng(0).integers(0, 65536, (240, 320, 3)).astype(np.uint16)
    for image in (sensor(12), noise):
        depth.update(image)
    assert depth.bits == 16
    found = [depth.update(sensor(12)) for _ in range(60)]
    assert found[-1] == 12 and found.count(16) < 30


def test_dark_or_flat_images_prove_nothing() -> None:
    depth = BitDepth()
    noise = np.random.default_rng(0).integers(0, 60, (240, 320)).astype(np.uint16)
    for image in (np.zeros((240, 320), np.uint16), noise, noise + 4000, np.full((9, 9), 700, np.uint16)):
        assert depth.update(image) == 16 and depth.bits is None
    assert depth.update(sensor(10)) == 10


def test_users_bit_depth_wins_and_is_checked() -> None:
    depth = BitDepth(14)
    assert depth.update(sensor(10)) == 14
    with pytest.raises(ImageError, match="bit_depth is 14, but the image has values up to"):
        depth.update(sensor(16))
