"""Camera: intrinsics, distortion, roi and binning.

The oracles are OpenCV's distortion, image_geometry's formulas written out again, and a known plane.
"""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera

PLUMB_BOB = (0.12, -0.25, 0.001, -0.0008, 0.08)
RATIONAL = (5.2, 3.1, 0.0002, -0.0001, 0.15, 5.5, 4.6, 0.8)  # of the kind that wide RGBD cameras carry
THIN_PRISM = (*RATIONAL, 0.001, -0.002, 0.0015, 0.0005)
EQUIDISTANT = (-0.02, 0.004, -0.002, 0.0004)
LENSES = {
    "none": Camera(640, 480, 600.0, 610.0, 322.0, 238.0),
    "plumb_bob": Camera(640, 480, 520.0, 525.0, 322.0, 238.0, "plumb_bob", PLUMB_BOB),
    "plumb_bob4": Camera(640, 480, 520.0, 525.0, 322.0, 238.0, "plumb_bob", (-0.3, 0.1, 0.002, 0.001)),
    "rational": Camera(640, 480, 500.0, 500.0, 318.0, 243.0, "rational_polynomial", RATIONAL),
    "thin_prism": Camera(640, 480, 500.0, 500.0, 318.0, 243.0, "rational_polynomial", THIN_PRISM),
    "equidistant": Camera(640, 480, 280.0, 281.0, 318.0, 243.0, "equidistant", EQUIDISTANT),
    "equidistant_ideal": Camera(640, 480, 280.0, 281.0, 318.0, 243.0, "equidistant"),
}


def opencv_project(camera: Camera, points: np.ndarray) -> np.ndarray:
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    flat = np.ascontiguousarray(points.reshape(-1, 1, 3), np.float64)
    zero = np.zeros(3)
    if camera.distortion_model == "equidistant":
        d = np.array(camera.d or (0.0,) * 4)
        pixels, _ = cv2.fisheye.projectPoints(flat, zero, zero, matrix, d)
    else:
        pixels, _ = cv2.projectPoints(flat, zero, zero, matrix, np.array(camera.d or (0.0,) * 4))
    return pixels.reshape(*points.shape[:-1], 2)


def info(**changes: object) -> SimpleNamespace:
    """A camera_info by its attributes, full resolution 1280x960, K and P different."""
    fields: dict = {
        "width": 1280,
        "height": 960,
        "distortion_model": "plumb_bob",
        "d": np.array(PLUMB_BOB),
        "k": np.array([1040.0, 0, 644.0, 0, 1050.0, 476.0, 0, 0, 1]),
        "r": np.eye(3).ravel(),
        "p": np.array([1000.0, 0, 640.0, 0, 0, 1000.0, 480.0, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize("name", LENSES)
def test_projection_equals_opencv(name: str) -> None:
    camera = LENSES[name]
    random = np.random.default_rng(1)
    points = np.concatenate((random.uniform(-0.5, 0.5, (500, 2)), np.ones((500, 1))), 1)
    points *= random.uniform(0.2, 2.0, (500, 1))
    expected = opencv_project(camera, points)
    np.testing.assert_allclose(camera.project(points), expected, atol=1e-6)
    np.testing.assert_allclose(camera.project(torch.from_numpy(points)).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(camera.project(torch.from_numpy(points).float()).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("name", LENSES)
def test_every_pixel_has_the_ray_that_opencv_projects_onto_it(name: str) -> None:
    camera = LENSES[name]
    pixels = np.stack(np.meshgrid(np.arange(0, 640, 7.0), np.arange(0, 480, 7.0)), -1)
    rays = camera.unproject(pixels)
    assert np.isfinite(rays).all() and (rays[..., 2] == 1).all()
    # 1e-6 rad is 5e-4 px at these focal lengths
    np.testing.assert_allclose(opencv_project(camera, rays), pixels, atol=3e-4)
    table = camera.rays()
    assert table.shape == (480, 640, 3) and table.dtype == torch.float32
    np.testing.assert_allclose(table[::7, ::7].numpy(), rays, atol=1e-6)


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("roi", [None, (100, 60, 400, 320)])
@pytest.mark.parametrize("binning", [1, 2])
def test_back_projection_of_a_plane_is_within_a_millimetre(
    name: str, roi: tuple | None, binning: int
) -> None:
    """Return a slanted plane near 0.5 m, seen through OpenCV's rays of the whole sensor.

    The message describes the sensor with a roi and binning. As in image_geometry, binned pixel i is
    pixel i * binning + offset of the sensor.
    """
    full = LENSES[name]
    left, top, width, height = roi or (0, 0, 640, 480)
    message = info(
        width=640,
        height=480,
        distortion_model=full.distortion_model,
        d=np.array(full.d),
        k=np.array([full.fx, 0, full.cx, 0, full.fy, full.cy, 0, 0, 1]),
        binning_x=binning,
        binning_y=binning,
        roi=SimpleNamespace(x_offset=left, y_offset=top, width=width, height=height) if roi else info().roi,
    )
    camera = Camera.from_camera_info(message)
    assert (camera.width, camera.height) == (width // binning, height // binning)

    normal, distance = np.array([0.2, -0.3, 0.93]), 0.5
    random = np.random.default_rng(2)
    xy = random.uniform(-0.2, 0.2, (3000, 2))
    points = np.column_stack((xy, (distance - xy @ normal[:2]) / normal[2]))  # on the plane
    sensor = opencv_project(full, points)
    image = (sensor - (left, top)) / binning
    inside = ((image >= 0) & (image <= (camera.width - 1, camera.height - 1))).all(1)
    assert inside.sum() > 300
    rays = camera.unproject(image[inside])
    back = rays * points[inside, 2:]  # depth times ray: what a consumer does
    assert np.abs(back - points[inside]).max() < 1e-6
    # and the table of whole pixels, as consumers look it up: depth of the plane along each ray
    table = camera.rays()[::20, ::20].numpy().astype(np.float64)
    meet = table * (distance / (table @ normal))[..., None]
    rows, columns = np.mgrid[0 : camera.height : 20, 0 : camera.width : 20]
    seen = opencv_project(full, meet)
    error_px = np.linalg.norm(
        seen - (columns[..., None] * [1, 0] + rows[..., None] * [0, 1]) * binning - (left, top), axis=-1
    )
    assert (error_px * meet[..., 2] / min(full.fx, full.fy)).max() < 1e-3


def test_rectified_uses_p_and_no_distortion() -> None:
    camera = Camera.from_camera_info(info(), rectified=True)
    assert camera == Camera(1280, 960, 1000.0, 1000.0, 640.0, 480.0)
    raw = Camera.from_camera_info(info())
    assert raw == Camera(1280, 960, 1040.0, 1050.0, 644.0, 476.0, "plumb_bob", PLUMB_BOB)


@given(
    left=st.integers(0, 300),
    top=st.integers(0, 300),
    bin_x=st.integers(0, 4),
    bin_y=st.integers(0, 4),
    rectified=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_roi_and_binning_are_image_geometrys(
    left: int, top: int, bin_x: int, bin_y: int, rectified: bool
) -> None:
    message = info(binning_x=bin_x, binning_y=bin_y)
    message.roi = SimpleNamespace(x_offset=left, y_offset=top, width=640, height=480)
    camera = Camera.from_camera_info(message, rectified=rectified)
    sx, sy = 1.0 / max(bin_x, 1), 1.0 / max(bin_y, 1)
    scale = np.diag([sx, sy, 1.0])
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]])
    source = message.p.reshape(3, 4)[:, :3] if rectified else message.k.reshape(3, 3)
    np.testing.assert_allclose(camera.matrix, scale @ shift @ source, rtol=1e-12)
    assert (camera.width, camera.height) == (640 // max(bin_x, 1), 480 // max(bin_y, 1))


def test_a_point_outside_the_lens_or_behind_it_does_not_appear_in_the_picture() -> None:
    """Strong barrel polynomials fold back: unchecked, a point at 70 degrees lands in the middle."""
    camera = Camera(640, 480, 400.0, 400.0, 320.0, 240.0, "plumb_bob", (-0.3, 0.0, 0, 0, 0))
    folding = np.array([[3.0, 0.0, 1.0], [0.1, 0.1, -1.0], [0.0, 0.0, 0.0]])
    assert np.isnan(camera.project(folding)).all()
    assert torch.isnan(camera.project(torch.from_numpy(folding))).all()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"fx": 0.0}, "fx"),
        ({"fy": -600.0}, "fy"),
        ({"fx": float("nan")}, "fx"),
        ({"cx": float("inf")}, "cx"),
        ({"cy": None}, "cy"),
        ({"width": 0}, "width"),
        ({"height": -3}, "height"),
        ({"width": 640.5}, "width"),
        ({"width": 10**9}, "width"),
        ({"distortion_model": "kannala_9", "d": (0.1, 0.1, 0.1, 0.1)}, "distortion_model"),
        ({"d": (0.1, 0.2)}, "d has 2"),
        ({"d": (0.1, float("nan"), 0.0, 0.0, 0.0)}, r"d\[1\]"),
        ({"distortion_model": "equidistant", "d": (0.1,) * 5}, "d has 5"),
        ({"distortion_model": "rational_polynomial", "d": (0.0,) * 13 + (1.0,)}, "tilted"),
        ({"d": (0.1,) * 6}, "d has 6"),
        ({"d": (0.1,) * 15}, "d has 15"),
        ({"distortion_model": "kannala", "d": (0.1, 0, 0, 0)}, "distortion_model"),
        ({"distortion_model": "equidistant", "d": (0.1,) * 8}, "d has 8"),
        ({"d": (3000.0, 0, 0, 0, 0)}, r"distortion coefficients cannot be right.*d\[0\] = 3000"),
        ({"d": (-3000.0, 0, 0, 0, 0)}, r"distortion coefficients cannot be right.*no rays"),
        ({"d": (0.1, 0.0, 0.0, 0.0, 1e6)}, r"distortion coefficients cannot be right.*d\[4\]"),
    ],
)
def test_impossible_cameras_are_refused_by_field(change: dict, names: str) -> None:
    good = {"width": 640, "height": 480, "fx": 600.0, "fy": 600.0, "cx": 320.0, "cy": 240.0}
    with pytest.raises(CameraError, match=names):
        Camera(**{**good, **change})


@pytest.mark.parametrize(
    ("change", "rectified", "names"),
    [
        ({"k": np.zeros(9)}, False, r"k\[0\]"),
        ({"k": np.full(9, np.nan)}, False, r"k\[0\]"),
        ({"k": []}, False, "k has 0"),
        ({"p": np.zeros(12)}, True, r"p\[0\].*rectified off"),
        ({"width": 0}, False, "width"),
        ({"width": 0, "height": 0, "k": np.zeros(9), "p": np.zeros(12)}, False, "calibrate the camera"),
        ({"width": 0, "height": 0, "k": np.zeros(9), "p": np.zeros(12)}, True, "calibrate the camera"),
        ({"k": np.zeros(9)}, False, "calibrate the camera"),
        ({"roi": SimpleNamespace(x_offset=900, y_offset=0, width=640, height=480)}, False, "roi"),
        ({"roi": SimpleNamespace(x_offset=10, y_offset=0, width=0, height=0)}, False, "roi"),
        ({"binning_x": 2000}, False, "width"),
    ],
)
def test_impossible_camera_infos_are_refused_by_field(change: dict, rectified: bool, names: str) -> None:
    with pytest.raises(CameraError, match=names):
        Camera.from_camera_info(info(**change), rectified=rectified)


def test_drivers_other_names_for_no_distortion_and_fisheye() -> None:
    assert Camera.from_camera_info(info(distortion_model="", d=[])).is_pinhole
    assert Camera.from_camera_info(info(d=[0.0] * 5)).is_pinhole
    assert (
        Camera.from_camera_info(info(distortion_model="fisheye", d=[0.0] * 4)).distortion_model
        == "equidistant"
    )


def test_cameras_compare_by_value() -> None:
    one, two = (Camera(640, 480, 600, 600, 320, 240, d=[0.1, 0, 0, 0, 0]) for _ in range(2))
    assert one == two and hash(one) == hash(two) and one.rays() is two.rays()
    assert one != LENSES["none"]


def test_field_of_view() -> None:
    camera = Camera.from_hfov(640, 480, 90.0)
    np.testing.assert_allclose(camera.unproject(np.array([[-0.5, 239.5], [639.5, 239.5]]))[:, 0], [-1, 1])
    with pytest.raises(CameraError, match="hfov"):
        Camera.from_hfov(640, 480, 180.0)


def test_a_fisheye_pixel_beyond_90_degrees_has_no_ray() -> None:
    camera = Camera(32, 24, 4.0, 4.0, 15.5, 11.5, "equidistant")
    rays = camera.unproject(np.array([[15.5 + 4 * 1.2, 11.5], [15.5 + 4 * 1.8, 11.5], [0.0, 0.0]]))
    assert np.isfinite(rays[0]).all()
    assert np.isnan(rays[1:, :2]).all()


def test_a_focal_length_that_no_lens_has_is_refused() -> None:
    with pytest.raises(CameraError, match="fx"):
        Camera(640, 480, 1e-300, 600.0, 320.0, 240.0)


K6 = (8.21, 3.4, 0.0004, 0.0002, 0.11, 8.55, 6.2, 0.8)
"""Rational coefficients of a wide lens as Orbbec and Azure Kinect cameras store them."""
PRISM = (0.002, -0.001, 0.001, 0.0005)
BY_COUNT = {
    "4 as rational": ("rational_polynomial", PLUMB_BOB[:4]),
    "5 as rational": ("rational_polynomial", PLUMB_BOB),
    "8 as plumb_bob": ("plumb_bob", K6),
    "12 as plumb_bob": ("plumb_bob", (*K6, *PRISM)),
    "14 as plumb_bob": ("plumb_bob", (*K6, *PRISM, 0.0002, -0.0001)),
    "14 as rational": ("rational_polynomial", (*K6, *PRISM, 0.02, -0.03)),
    "14, tilt only": ("rational_polynomial", (0.0,) * 12 + (0.1, 0.05)),
    "8 without a name": ("", K6),
    "5 as Plumb Bob": ("Plumb Bob", PLUMB_BOB),
    "5 as Brown-Conrady": ("brown-conrady", PLUMB_BOB),
}


@pytest.mark.parametrize("name", BY_COUNT)
def test_the_number_of_coefficients_decides_as_in_opencv(name: str) -> None:
    """Whatever the model is called; OpenCV's projectPoints is the oracle."""
    model, d = BY_COUNT[name]
    camera = Camera.from_camera_info(info(distortion_model=model, d=list(d)))
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.4, 0.4, 7))
    rays = np.stack((x, y, np.ones_like(x)), -1)
    zero = np.zeros(3)
    expected, _ = cv2.projectPoints(rays.reshape(-1, 1, 3), zero, zero, camera.matrix, np.array(d))
    np.testing.assert_allclose(camera.project(rays).reshape(-1, 2), expected.reshape(-1, 2), atol=1e-6)
    np.testing.assert_allclose(camera.unproject(camera.project(rays)), rays, atol=1e-7)
    torch_pixels = camera.project(torch.from_numpy(rays)).numpy()
    np.testing.assert_allclose(torch_pixels, camera.project(rays), atol=1e-9)


@pytest.mark.parametrize(
    ("d", "model", "same"),
    [
        ((*PLUMB_BOB, 0.0), "plumb_bob", PLUMB_BOB),
        ((*PLUMB_BOB, *(0.0,) * 3), "plumb_bob", PLUMB_BOB),
        ((*PLUMB_BOB[:4], *(0.0,) * 16), "plumb_bob", PLUMB_BOB[:4]),
        ((*K6, 0.0), "plumb_bob", K6),
        ((*K6, *PRISM, 0.0, 0.0, 0.0), "rational_polynomial", (*K6, *PRISM)),
        ((0.01, 0.002, 0.0, 0.0, 0.0), "equidistant", (0.01, 0.002, 0.0, 0.0)),
        ((0.01, 0.002, 0.003, -0.001, *(0.0,) * 10), "fisheye", (0.01, 0.002, 0.003, -0.001)),
    ],
)
def test_zeros_at_the_end_of_d_do_not_count(d: tuple, model: str, same: tuple) -> None:
    camera = Camera(640, 480, 500.0, 500.0, 320.0, 240.0, model, d)
    expected = Camera(640, 480, 500.0, 500.0, 320.0, 240.0, model, same)
    np.testing.assert_array_equal(camera.rays(), expected.rays())


@pytest.mark.parametrize("name", ["unknown_lens", "double_sphere", "pinhole"])
@pytest.mark.parametrize("count", [0, 1, 3, 5, 7, 20])
def test_lens_without_distortion_needs_no_known_name(name: str, count: int) -> None:
    assert Camera.from_camera_info(info(distortion_model=name, d=[0.0] * count)).is_pinhole


def test_fisheye_of_any_name_with_zero_coefficients_is_no_pinhole() -> None:
    camera = Camera.from_camera_info(info(distortion_model="thin_prism_fisheye", d=[0.0] * 8))
    assert camera.distortion_model == "equidistant" and not camera.is_pinhole


def test_rectified_image_without_p_uses_k_if_nothing_is_distorted() -> None:
    message = info(d=[0.0] * 5, p=np.zeros(12))
    assert Camera.from_camera_info(message, rectified=True) == Camera(1280, 960, 1040, 1050, 644, 476)


def test_strong_wide_lenses_are_accepted() -> None:
    """Barrel and pincushion lenses of real cameras, and rational ones with large coefficients."""
    for model, d in (
        ("plumb_bob", (-0.42, 0.2, 0.0, 0.0, -0.04)),
        ("plumb_bob", (0.3, 0.4, 0.0, 0.0, 0.1)),
        ("rational_polynomial", (3021.0, 1800.0, 0.0, 0.0, 90.0, 3020.6, 1950.0, 300.0)),
        ("equidistant", (-0.04, 0.01, -0.005, 0.0005)),
    ):
        Camera(640, 480, 260.0, 260.0, 320.0, 240.0, model, d)
