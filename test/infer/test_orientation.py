"""A camera given for stored pixels turns with photographs that EXIF turns."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.messages import sample_rgb

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.infer.images import Job, read_image
from hand_depth_ros.infer.orientation import Orientation

HEIGHT, WIDTH = 40, 64
ORIENTATIONS = range(1, 9)
LENSES = {
    "pinhole": ("plumb_bob", ()),
    "plumb_bob": ("plumb_bob", (0.05, -0.02, 0.003, -0.004, 0.001)),
    "thin_prism": (
        "rational_polynomial",
        (0.05, -0.02, 0.003, -0.004, 0.001, 0.01, 0.002, 0.001, 0.003, 0.001, -0.002, 0.004),
    ),
    "equidistant": ("equidistant", (0.02, -0.01, 0.003, -0.001)),
}


def exif(orientation: int) -> bytes:
    """Return a TIFF header whose only entry is the orientation."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


def write_turned(path: Path, rgb: np.ndarray, orientation: int) -> None:
    """Write a photograph that says how its pixels are to be turned."""
    data = cv2.imencode(path.suffix, rgb[..., ::-1])[1].tobytes()
    if path.suffix == ".jpg":
        segment = b"Exif\0\0" + exif(orientation)
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    else:
        chunk = b"eXIf" + exif(orientation)
        crc = struct.pack(">I", zlib.crc32(chunk))
        data = data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + crc + data[33:]
    path.write_bytes(data)


def turned_point(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Return where a stored pixel is in the upright image, by the EXIF specification."""
    right, bottom = WIDTH - 1 - x, HEIGHT - 1 - y
    return {
        1: (x, y),
        2: (right, y),
        3: (right, bottom),
        4: (x, bottom),
        5: (y, x),
        6: (bottom, x),
        7: (bottom, right),
        8: (y, right),
    }[orientation]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_given_camera_turns_with_the_pixels(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    write_turned(path, sample_rgb(HEIGHT, WIDTH), orientation)
    sizes = []

    def camera_of(width: int, height: int) -> Camera:
        sizes.append((width, height))
        return Camera(width, height, fx=50.0, fy=60.0, cx=20.0, cy=11.0)

    rgb, camera = read_image(Job(path, "photo", camera_of))
    assert sizes == [(WIDTH, HEIGHT)]
    assert rgb.shape[:2] == (camera.height, camera.width)
    if suffix == ".png" and np.array_equal(rgb, sample_rgb(HEIGHT, WIDTH)):
        orientation = 1  # older OpenCV does not turn PNG images
    assert (camera.cx, camera.cy) == turned_point(20.0, 11.0, orientation)
    assert (camera.fx, camera.fy) == ((60.0, 50.0) if orientation >= 5 else (50.0, 60.0))


@pytest.mark.parametrize("orientation", [6, 8])
def test_hfov_is_that_of_the_stored_pixels(tmp_path: Path, orientation: int) -> None:
    write_turned(tmp_path / "a.jpg", sample_rgb(HEIGHT, WIDTH), orientation)
    job = Job(tmp_path / "a.jpg", "a", lambda width, height: Camera.from_hfov(width, height, 60.0))
    _, camera = read_image(job)
    f = Camera.from_hfov(WIDTH, HEIGHT, 60.0).fx
    assert (camera.width, camera.height, camera.fx, camera.fy) == (HEIGHT, WIDTH, f, f)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("mirror_x", [False, True])
@pytest.mark.parametrize("mirror_y", [False, True])
def test_points_project_onto_the_turned_pixels(lens: str, swap: bool, mirror_x: bool, mirror_y: bool) -> None:
    model, d = LENSES[lens]
    camera = Camera(WIDTH, HEIGHT, 50.0, 60.0, 20.0, 11.0, model, d)
    turned = Orientation(swap, mirror_x, mirror_y).turn_camera(camera)
    points = np.random.default_rng(0).uniform((-0.4, -0.3, 1.0), (0.4, 0.3, 2.0), (50, 3))
    pixels, turned_points = camera.project(points), points.copy()
    if swap:
        pixels, turned_points = pixels[:, ::-1].copy(), turned_points[:, [1, 0, 2]]
    if mirror_x:
        pixels[:, 0], turned_points[:, 0] = turned.width - 1 - pixels[:, 0], -turned_points[:, 0]
    if mirror_y:
        pixels[:, 1], turned_points[:, 1] = turned.height - 1 - pixels[:, 1], -turned_points[:, 1]
    assert np.allclose(turned.project(turned_points), pixels, atol=1e-9)
