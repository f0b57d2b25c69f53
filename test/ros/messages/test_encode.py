"""Encoded messages: invalid values, rounding, layout, and points that match the depth."""

from __future__ import annotations

import numpy as np
import pytest
from support import messages

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.encode import (
    encode_depth_m,
    encode_depth_mm,
    encode_mask,
    encode_points,
    encode_rgb,
    encode_sigma,
)

DEPTH = np.array([[np.nan, 0.5, 0.12345], [0.0, -1.0, np.inf], [65.535, 65.6, 1e9]], np.float32)


def pixels(fields: dict, dtype: str) -> np.ndarray:
    """Read an image's fields like a C++ consumer."""
    assert fields["data"].size == fields["step"] * fields["height"]
    shape = (fields["height"], fields["width"]) + ((3,) if fields["encoding"] == "rgb8" else ())
    assert fields["step"] == np.prod(shape[1:]) * np.dtype(dtype).itemsize
    return np.frombuffer(fields["data"].tobytes(), dtype).reshape(shape)


def test_millimetres_are_rounded_and_zero_where_invalid() -> None:
    fields = encode_depth_mm(DEPTH)
    assert fields["encoding"] == "16UC1" and fields["is_bigendian"] == 0
    assert pixels(fields, "<u2").tolist() == [[0, 500, 123], [0, 0, 0], [65535, 0, 0]]


def test_metres_are_nan_where_invalid_never_zero_or_infinite() -> None:
    values = pixels(encode_depth_m(DEPTH), "<f4")
    assert np.array_equal(np.isnan(values), [[1, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert values[0, 1] == np.float32(0.5)


def test_millimetres_are_the_rounded_metres() -> None:
    depth = np.random.default_rng(0).uniform(0.05, 3.0, (50, 60)).astype(np.float32)
    metres, millimetres = pixels(encode_depth_m(depth), "<f4"), pixels(encode_depth_mm(depth), "<u2")
    assert [[round(float(m) * 1000) for m in row] for row in metres] == millimetres.tolist()


def test_sigma_is_invalid_where_depth_is() -> None:
    sigma = np.full(DEPTH.shape, 0.01, np.float32)
    values = pixels(encode_sigma(sigma, DEPTH), "<f4")
    assert np.array_equal(np.isnan(values), np.isnan(pixels(encode_depth_m(DEPTH), "<f4")))


def test_mask_and_image_keep_their_bytes() -> None:
    rgb = messages.sample_rgb(5, 7)
    mask = rgb[..., 0]
    assert np.array_equal(pixels(encode_rgb(rgb), "u1"), rgb)
    assert np.array_equal(pixels(encode_mask(mask), "u1"), mask)


def read_cloud(fields: dict) -> tuple[np.ndarray, np.ndarray]:
    """An independent reader: x y z (N, 3) and r g b (N, 3) by the fields' own offsets."""
    raw = fields["data"].reshape(-1, fields["point_step"])
    assert raw.shape[0] == fields["height"] * fields["width"]
    assert fields["row_step"] == fields["point_step"] * fields["width"]
    offsets = {f["name"]: f["offset"] for f in fields["fields"]}
    xyz = np.stack(
        [np.ascontiguousarray(raw[:, o : o + 4]).view("<f4")[:, 0] for n in "xyz" for o in [offsets[n]]], -1
    )
    packed = raw[:, offsets["rgb"] : offsets["rgb"] + 4]
    return xyz, packed[:, 2::-1]


CAMERAS = {
    "pinhole": Camera(32, 24, 30.0, 31.0, 15.2, 11.7),
    "distorted": Camera(32, 24, 30.0, 31.0, 15.2, 11.7, "plumb_bob", (0.1, -0.05, 0.001, -0.002, 0.01)),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_hand_points_project_back_to_their_pixels(camera: Camera) -> None:
    rgb = messages.sample_rgb()
    depth = np.full((24, 32), np.nan, np.float32)
    depth[5:15, 8:20] = np.linspace(0.4, 0.5, 12, dtype=np.float32)
    fields = encode_points(depth, rgb, camera)
    xyz, colours = read_cloud(fields)
    assert fields["is_dense"] and fields["height"] == 1 and len(xyz) == 120
    at = np.rint(camera.project(xyz.astype(np.float64))).astype(int)
    assert np.abs(camera.project(xyz.astype(np.float64)) - at).max() < 1e-3
    assert np.array_equal(depth[at[:, 1], at[:, 0]], xyz[:, 2])
    assert np.array_equal(rgb[at[:, 1], at[:, 0]], colours)


def test_pixels_without_a_ray_give_no_points() -> None:
    wide = Camera(
        32, 24, 30.0, 30.0, 15.5, 11.5, "plumb_bob", (-0.5, 0.0, 0.0, 0.0)
    )  # its corners are beyond the fold
    depth = np.full((24, 32), 0.5, np.float32)
    xyz, _ = read_cloud(encode_points(depth, messages.sample_rgb(), wide))
    assert 0 < len(xyz) < depth.size and np.isfinite(xyz).all()


def test_organized_points_follow_the_image() -> None:
    rgb = messages.sample_rgb()
    depth = np.full((24, 32), np.nan, np.float32)
    depth[3, 4] = 0.7
    fields = encode_points(depth, rgb, CAMERAS["pinhole"], organized=True)
    xyz, colours = read_cloud(fields)
    assert (fields["height"], fields["width"], fields["is_dense"]) == (24, 32, False)
    assert np.flatnonzero(np.isfinite(xyz[:, 2])).tolist() == [3 * 32 + 4]
    assert np.isnan(xyz[0]).all() and np.array_equal(colours.reshape(rgb.shape), rgb)


@pytest.mark.parametrize("ramp", [1, 2, 3])
@pytest.mark.parametrize("turned", [False, True], ids=["along rows", "along columns"])
@pytest.mark.parametrize("organized", [False, True])
def test_removes_flying_pixels_between_finger_and_palm(ramp: int, turned: bool, organized: bool) -> None:
    """A step of 5 cm at 0.4 m, smeared over `ramp` pixels of 1.3 mm (f = 300)."""
    camera = Camera(40, 40, 300.0, 300.0, 19.5, 19.5)
    depth = np.full((40, 40), np.nan, np.float32)
    line = np.concatenate((np.full(10, 0.40), np.linspace(0.40, 0.45, ramp + 2)[1:-1], np.full(10, 0.45)))
    depth[8:30, 5 : 5 + line.size] = line
    depth = depth.T.copy() if turned else depth
    xyz, _ = read_cloud(encode_points(depth, messages.sample_rgb(40, 40), camera, organized))
    z = xyz[np.isfinite(xyz[:, 2]), 2]
    assert set(np.round(z.astype(float), 4)) == {0.40, 0.45} and len(z) == 20 * 22
    kept = encode_points(depth, messages.sample_rgb(40, 40), camera, organized, remove_flying_pixels=False)
    xyz, _ = read_cloud(kept)
    assert np.isfinite(xyz[:, 2]).sum() == np.isfinite(depth).sum() == (20 + ramp) * 22


def test_steep_surfaces_and_clean_steps_keep_every_point() -> None:
    camera = Camera(40, 40, 300.0, 300.0, 19.5, 19.5)
    rgb = messages.sample_rgb(40, 40)
    x = np.arange(40)
    steep = 0.4 / (1.0 - np.tan(np.deg2rad(75.0)) * (x - 19.5) / 300.0)  # a plane, 75 degrees off, in row x
    for depth in (np.tile(steep, (40, 1)), np.where(x < 20, 0.4, 0.6) * np.ones((40, 1))):
        xyz, _ = read_cloud(encode_points(depth.astype(np.float32), rgb, camera))
        assert len(xyz) == 1600


def test_image_without_hand_is_an_empty_cloud() -> None:
    fields = encode_points(np.full((24, 32), np.nan, np.float32), messages.sample_rgb(), CAMERAS["pinhole"])
    assert (fields["height"], fields["width"], fields["data"].size) == (1, 0, 0)
