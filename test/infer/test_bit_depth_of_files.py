"""16-bit files of sensors with fewer bits give the image that 8 bits give."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support import messages

from hand_depth_ros.errors import ImageError
from hand_depth_ros.estimation.bit_depth import BitDepth
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.infer.images import Job, read_image

RGB = messages.sample_rgb(120, 160)
CAMERA = Camera.from_hfov(160, 120, 60.0)


def job(path: Path, bits: int) -> Job:
    """Return the job of the scene as a sensor of this bit depth stores it."""
    pixels = np.rint(RGB[..., ::-1] * ((2**bits - 1) / 255)).astype(np.uint16)
    assert cv2.imwrite(str(path), pixels)
    return Job(path, "image", CAMERA)


@pytest.mark.parametrize("extension", ["png", "tiff", "ppm"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_infers_the_bit_depth_of_a_file(tmp_path: Path, bits: int, extension: str) -> None:
    depth = BitDepth()
    rgb, _ = read_image(job(tmp_path / f"image.{extension}", bits), depth)
    assert depth.bits == bits and np.abs(rgb.astype(int) - RGB).max() <= 1


def test_given_bit_depth_is_used_and_checked(tmp_path: Path) -> None:
    rgb, _ = read_image(job(tmp_path / "image.png", 10), BitDepth(12))
    assert np.abs(rgb.astype(int) - RGB / 4).max() <= 1
    with pytest.raises(ImageError, match="bit_depth is 10"):
        read_image(job(tmp_path / "image.png", 12), BitDepth(10))


def test_eight_and_sixteen_bits_are_read_as_opencv_reads_them(tmp_path: Path) -> None:
    sixteen = np.random.default_rng(0).integers(0, 65536, (120, 160, 3)).astype(np.uint16)
    path = tmp_path / "image.png"
    for pixels in (sixteen, RGB, RGB[..., 0]):
        assert cv2.imwrite(str(path), pixels)
        rgb, _ = read_image(Job(path, "image", CAMERA))
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert np.array_equal(rgb, expected[..., ::-1])
