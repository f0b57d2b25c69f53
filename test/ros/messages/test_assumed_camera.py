"""The assumed camera has the size of the image that it describes, in node and bag alike."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.assumed_camera import AssumedCamera, image_size
from hand_depth_ros.ros.messages.calibration_file import fields_of_camera


def image(width: int, height: int, encoding: str = "rgb8", rows: int | None = None) -> Any:
    """Return a message whose `height` is `rows` if these are given."""
    channels = {"rgb8": 3}.get(encoding, 1)
    size = height * width * 3 // 2 if encoding == "nv12" else height * width * channels
    return SimpleNamespace(
        width=width,
        height=rows or height,
        encoding=encoding,
        step=width * channels,
        is_bigendian=0,
        data=np.full(size, 128, np.uint8),
    )


@pytest.mark.parametrize("rows", [48, 72])
def test_nv12_has_the_size_of_the_image_whether_or_not_its_height_counts_chroma(rows: int) -> None:
    assert image_size(image(64, 48, "nv12", rows)) == (64, 48)


def test_a_compressed_image_has_the_size_in_its_header() -> None:
    data = cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].ravel()
    assert image_size(SimpleNamespace(format="png", data=data)) == (40, 30)


def test_the_camera_follows_the_size_of_the_images() -> None:
    camera = AssumedCamera("--hfov 60", lambda w, h: fields_of_camera(Camera.from_hfov(w, h, 60.0)))
    first = camera.fields(image(64, 48))
    assert camera.fields(image(64, 48)) is first and (first["width"], first["height"]) == (64, 48)
    assert camera.describe().startswith("64x48, fx 55.") and camera.describe().endswith("from --hfov 60")
    assert camera.fields(image(128, 96))["k"][0] == pytest.approx(2 * first["k"][0])
