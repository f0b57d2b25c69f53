"""The virtual crop camera, both ways, against scenes whose depth and colour have a formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.crop_camera import CropCamera

CAMERAS = {
    "pinhole": Camera(640, 480, 600.0, 610.0, 322.0, 238.0),
    "plumb_bob": Camera(
        640, 480, 520.0, 525.0, 322.0, 238.0, "plumb_bob", (0.12, -0.25, 0.001, -0.0008, 0.08)
    ),
    "equidistant": Camera(
        640, 480, 280.0, 281.0, 318.0, 243.0, "equidistant", (-0.02, 0.004, -0.002, 0.0004)
    ),
}
NORMAL, DISTANCE = np.array([0.3, -0.2, 0.93]), 0.45  # a slanted plane in the frame's optical frame
ROI = (380.0, 60.0, 140.0, 190.0)


def plane_depth(rays: np.ndarray, normal: np.ndarray = NORMAL) -> np.ndarray:
    """z of the plane along rays with z = 1."""
    return DISTANCE / (rays @ normal)


def sphere_depth(rays: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """z of the near side of a sphere along rays with z = 1, NaN beside it."""
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
    inside = b * b - a * c
    return np.where(inside >= 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.nan)


def rotation_of(crop: CropCamera) -> np.ndarray:
    return np.array(crop.rotation)


@pytest.mark.parametrize("name", CAMERAS)
def test_it_looks_at_the_box_and_the_box_with_its_margin_fills_it(name: str) -> None:
    camera = CAMERAS[name]
    crop = CropCamera.from_box(camera, ROI, 128, margin=1.5)
    rotation = rotation_of(crop)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    x, y, width, height = ROI
    np.testing.assert_allclose(
        crop.to_crop(camera, np.array([x + width / 2, y + height / 2])), [63.5, 63.5], atol=1e-6
    )
    edge = np.linspace(0, 1, 400)
    ring = [(x + width * t, y + height * s) for t in edge for s in (0, 1)]
    ring += [(x + width * s, y + height * t) for t in edge for s in (0, 1)]
    seen = crop.to_crop(camera, np.array(ring))
    assert np.ptp(seen, axis=0).max() * 1.5 == pytest.approx(128, rel=0.01)


def test_the_turn_is_the_smallest_and_roll_turns_the_picture_counter_clockwise() -> None:
    camera = CAMERAS["pinhole"]
    straight = CropCamera.from_box(camera, ROI, 128)
    axis = camera.unproject(np.array([ROI[0] + ROI[2] / 2, ROI[1] + ROI[3] / 2]))
    angle = np.arccos(axis[2] / np.linalg.norm(axis))
    turned = np.arccos((np.trace(rotation_of(straight)) - 1) / 2)
    assert turned == pytest.approx(angle, abs=1e-9)
    rolled = CropCamera.from_box(camera, ROI, 128, roll=np.pi / 2)
    assert rolled.f == pytest.approx(straight.f)
    right = straight.to_frame(camera, np.array([100.0, 63.5]))
    np.testing.assert_allclose(rolled.to_crop(camera, right), [63.5, 127 - 100.0], atol=1e-6)


def hand_in_space(camera: Camera, at: tuple[float, float], angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an oblong flat hand that faces the camera, its middle on pixel ``at``.

    It is turned clockwise by ``angle`` from upright, as seen by a camera that looks at it by the
    smallest turn.

    Returns:
        Frame pixels of its outline (n, 2), and of wrist and middle fingertip (2, 2). Its size is
        0.8 by 0.4 at a distance of 4.
    """
    ray = camera.unproject(np.array(at))
    ray /= np.linalg.norm(ray)
    axis = np.cross((0, 0, 1), ray)
    turn = cv2.Rodrigues(axis / np.linalg.norm(axis) * np.arccos(ray[2]))[0]
    up = np.array([np.sin(angle), -np.cos(angle), 0])
    right = np.array([np.cos(angle), np.sin(angle), 0])
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    local = 0.4 * np.cos(t)[:, None] * up + 0.2 * np.sin(t)[:, None] * right + (0, 0, 4)
    ends = np.array((-0.4 * up, 0.4 * up)) + (0, 0, 4)
    return camera.project(local @ turn.T), camera.project(ends @ turn.T)


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2, -2.6])
@pytest.mark.parametrize("at", [(450.0, 150.0), (120.0, 380.0)])
@pytest.mark.parametrize("name", CAMERAS)
def test_a_hand_that_is_turned_stands_upright_in_a_crop_with_its_roll(
    name: str, at: tuple[float, float], angle: float
) -> None:
    """And fills it with its margin, however it is turned and whatever the lens."""
    camera = CAMERAS[name]
    outline, ends = hand_in_space(camera, at, angle)
    crop = CropCamera.from_points(camera, outline, 128, margin=1.5, roll=angle)
    rotation = rotation_of(crop)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    wrist, tip = crop.to_crop(camera, ends)
    np.testing.assert_allclose(wrist, (63.5, 63.5 + 128 / 3), atol=0.3)
    np.testing.assert_allclose(tip, (63.5, 63.5 - 128 / 3), atol=0.3)
    assert np.ptp(crop.to_crop(camera, outline), axis=0) == pytest.approx((128 / 3, 128 / 1.5), abs=0.5)
    assert crop.f == pytest.approx(128 / (1.5 * 2 * 0.1), rel=3e-3)


def test_the_outline_fills_the_crop_where_its_box_is_larger() -> None:
    """A hand across the frame has a square box; upright in the crop it is twice as large."""
    camera = CAMERAS["pinhole"]
    outline, _ = hand_in_space(camera, (322.1, 238.0), np.pi / 4)
    low, high = outline.min(0), outline.max(0)
    boxed = CropCamera.from_box(camera, (*low, *(high - low)), 128, roll=np.pi / 4)
    around = CropCamera.from_points(camera, outline, 128, roll=np.pi / 4)
    seen = [np.ptp(crop.to_crop(camera, outline)[:, 1]) for crop in (boxed, around)]
    assert seen[1] == pytest.approx(128 / 1.35, rel=0.01) and seen[0] > seen[1]


@pytest.mark.parametrize("name", CAMERAS)
def test_a_finer_crop_shows_the_same_in_more_pixels(name: str) -> None:
    camera = CAMERAS[name]
    crop = CropCamera.from_box(camera, ROI, 64, roll=0.7)
    finer = crop.resized(112)
    assert finer.size == 112 and crop.resized(64) == crop
    edges = np.array(
        [(x, y) for x in (0.0, 0.3, 1.0) for y in (0.0, 1.0)]
    )  # of the pictures, whose pixels are squares
    seen = [c.to_frame(camera, edges * c.size - 0.5) for c in (crop, finer)]
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-6)


@given(
    x=st.floats(100, 540),
    y=st.floats(100, 380),
    name=st.sampled_from(sorted(CAMERAS)),
    roll=st.floats(-3.2, 3.2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_any_outline_is_in_the_middle_of_its_crop_and_fills_it(
    x: float, y: float, name: str, roll: float, seed: int
) -> None:
    """Lopsided ones too, whose mean is not their middle."""
    camera = CAMERAS[name]
    outline = (x, y) + np.random.default_rng(seed).exponential(15, (9, 2)) * (1, -1)
    crop = CropCamera.from_points(camera, outline, 128, roll=roll)
    seen = crop.to_crop(camera, outline)
    np.testing.assert_allclose((seen.min(0) + seen.max(0)) / 2, (63.5, 63.5), atol=3)
    assert np.ptp(seen, axis=0).max() == pytest.approx(128 / 1.35, rel=0.04)


def test_points_that_the_lens_has_no_rays_for_do_not_count_and_too_few_others_are_refused() -> None:
    camera = CAMERAS["equidistant"]
    outline, _ = hand_in_space(camera, (450.0, 150.0), 0.4)
    nowhere = np.full((5, 2), 5000.0)
    assert np.isnan(camera.unproject(nowhere)).all(0)[:2].all()
    whole = CropCamera.from_points(camera, outline, 64, roll=0.4)
    with_more = CropCamera.from_points(camera, np.concatenate((nowhere, outline)), 64, roll=0.4)
    np.testing.assert_allclose(rotation_of(with_more), rotation_of(whole), atol=1e-12)
    assert with_more.f == pytest.approx(whole.f)
    for few in (outline[:2], np.concatenate((outline[:2], nowhere)), outline[:0], np.full((4, 2), np.nan)):
        with pytest.raises(CameraError, match="three pixels"):
            CropCamera.from_points(camera, few, 64)


@pytest.mark.parametrize(
    "roi", [(-300.0, 50.0, 200.0, 200.0), (600.0, 400.0, 200.0, 200.0), (5.0, 5.0, 0.01, 0.01)]
)
@pytest.mark.parametrize("name", CAMERAS)
def test_boxes_that_leave_the_frame_or_are_tiny_work(name: str, roi: tuple) -> None:
    camera = CAMERAS[name]
    crop = CropCamera.from_box(camera, roi, 64)
    image = torch.full((3, 480, 640), 255, dtype=torch.uint8)
    seen = crop.sample(camera, image)
    assert seen.shape == (3, 64, 64) and torch.isfinite(seen).all()
    placed = crop.reproject(camera, torch.ones(64, 64), torch.ones(64, 64))
    assert placed.depth.shape == placed.mask.shape == image[0, placed.slice_y, placed.slice_x].shape


@pytest.mark.parametrize("roi", [(0, 0, 0, 10), (0, 0, 10, -1), (float("nan"), 0, 10, 10)])
def test_boxes_without_a_size_are_refused(roi: tuple) -> None:
    with pytest.raises(CameraError, match="roi"):
        CropCamera.from_box(CAMERAS["pinhole"], roi, 64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("size", [64, 192, 300])
@pytest.mark.parametrize("name", CAMERAS)
def test_sample_shows_what_lies_along_the_crops_rays(
    name: str, size: int, channels_last: bool, dtype: torch.dtype
) -> None:
    """The crop of a smooth function of the pixel shows that function at its rays.

    Sizes from three-fold shrinking to enlarging; uint8 may be half a level off (its own rounding).
    """
    camera = CAMERAS[name]

    def wave(pixels: np.ndarray) -> np.ndarray:
        return 128 + 60 * np.sin(pixels[..., 0] / 90) + 60 * np.cos(pixels[..., 1] / 110)

    frame = wave(np.stack(np.meshgrid(np.arange(640), np.arange(480)), -1))
    image = torch.from_numpy(np.stack((frame, 255 - frame, frame), -1))
    image = (image.round() if dtype == torch.uint8 else image).to(dtype).permute(2, 0, 1)
    image = image if channels_last else image.contiguous()
    crop = CropCamera.from_box(camera, ROI, size)
    seen = crop.sample(camera, image).numpy()
    rays = crop.rays().numpy().astype(np.float64) @ rotation_of(crop)
    expected = wave(camera.project(rays))
    tolerance = 0.7 if dtype == torch.uint8 else 0.05
    np.testing.assert_allclose(seen, np.stack((expected, 255 - expected, expected)), atol=tolerance)


def test_sample_is_exact_on_a_linear_picture_and_zero_beside_the_frame() -> None:
    camera = CAMERAS["pinhole"]
    ramp = torch.arange(640, dtype=torch.float32).expand(1, 480, 640) + 1
    for size in (64, 128, 256):
        inside = CropCamera.from_box(camera, ROI, size)
        rays = inside.rays().numpy().astype(np.float64) @ rotation_of(inside)
        expected = camera.project(rays)[..., 0] + 1
        np.testing.assert_allclose(inside.sample(camera, ramp)[0].numpy(), expected, atol=2e-3)
        beside = CropCamera.from_box(camera, (-80.0, 100.0, 200.0, 200.0), size)
        pixels = camera.project(beside.rays().numpy().astype(np.float64) @ rotation_of(beside))
        seen = beside.sample(camera, ramp)[0].numpy()
        assert (seen[pixels[..., 0] < -0.51] == 0).all() and (pixels[..., 0] < -0.51).any()
        assert (seen[pixels[..., 0] > -0.49] > 0).all()


def test_shrinking_does_not_alias() -> None:
    """A one-pixel checkerboard shrunk to a third is grey; bilinear sampling would show moire."""
    camera = CAMERAS["pinhole"]
    board = (torch.arange(640)[None] + torch.arange(480)[:, None]) % 2 * 255.0
    seen = CropCamera.from_box(camera, (200.0, 100.0, 280.0, 280.0), 120).sample(camera, board[None])
    assert (seen - 127.5).abs().max() < 20


@pytest.mark.parametrize("roll", [None, 0.0, 2.3])
@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("size", [64, 128, 256])
def test_place_gives_a_planes_own_depth(name: str, size: int, roll: float | None) -> None:
    """Depth on the frame's pixels is the plane's; 0.1 mm is bilinear interpolation's share."""
    camera = CAMERAS[name]
    crop = CropCamera.from_box(camera, ROI, size)
    if roll is not None:
        x, y, width, height = ROI
        box = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        crop = CropCamera.from_points(camera, np.array(box), size, roll=roll)
    depth = plane_depth(crop.rays().numpy().astype(np.float64), rotation_of(crop) @ NORMAL)
    placed = crop.reproject(camera, torch.from_numpy(depth).float(), torch.ones(size, size))
    rays = camera.rays().numpy().astype(np.float64)[placed.slice_y, placed.slice_x]
    expected = plane_depth(rays)
    got = placed.depth.numpy()
    hand = np.isfinite(got)
    at = crop.to_crop(camera, np.stack(np.mgrid[placed.slice_x, placed.slice_y], -1).transpose(1, 0, 2))
    well_inside = ((at > 0.5) & (at < size - 1.5)).all(-1)
    assert hand[well_inside].all() and well_inside.sum() > 10_000
    assert np.abs(got - expected)[well_inside].max() < 1e-4
    np.testing.assert_array_equal(hand, placed.mask.numpy() > 0.5)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_sphere_comes_back_with_its_outline(name: str) -> None:
    camera = CAMERAS[name]
    size, radius = 192, 0.05
    centre = camera.unproject(np.array([450.0, 150.0])) * 0.45
    crop = CropCamera.from_box(camera, ROI, size)
    depth = sphere_depth(crop.rays().numpy().astype(np.float64), rotation_of(crop) @ centre, radius)
    hand = np.isfinite(depth)
    placed = crop.reproject(camera, torch.from_numpy(depth).float(), torch.from_numpy(hand))
    truth = sphere_depth(camera.rays().numpy().astype(np.float64), centre, radius)
    full = np.full((480, 640), np.nan)
    full[placed.slice_y, placed.slice_x] = placed.depth.numpy()
    got, true = np.isfinite(full), np.isfinite(truth)
    outline = 2 * np.sqrt(np.pi * true.sum())  # px long: on average it is less than half a pixel off
    assert (got ^ true).sum() < 0.5 * outline
    core = sphere_depth(camera.rays().numpy().astype(np.float64), centre, 0.8 * radius)
    core = np.isfinite(core)  # away from the outline, where a sphere is not vertical
    assert got[core].all() and np.abs(full - truth)[core].max() < 2e-4
    assert np.abs((full - truth)[got & true]).max() < radius  # nothing flies off behind


def test_nothing_smears_across_the_masks_border() -> None:
    """Hand at 0.4 m, background in the same map at 5 m or NaN: no pixel in between appears."""
    camera = CAMERAS["pinhole"]
    crop = CropCamera.from_box(camera, ROI, 96)
    y, x = np.mgrid[:96, :96]
    hand = torch.from_numpy(np.hypot(x - 47, y - 50) < 30)
    rotated_z = torch.full((96, 96), 0.4)
    for background in (5.0, float("nan")):
        depth = torch.where(hand, rotated_z, torch.tensor(background))
        sigma = torch.where(hand, torch.tensor(0.01), torch.tensor(background))
        placed = crop.reproject(camera, depth, hand.float(), {"sigma": sigma})
        found = placed.depth[torch.isfinite(placed.depth)]
        assert found.numel() > 2000 and found.min() > 0.35 and found.max() < 0.45
        kept = placed.extras["sigma"][torch.isfinite(placed.depth)]
        torch.testing.assert_close(kept, torch.full_like(kept, 0.01))
        assert torch.isnan(placed.extras["sigma"][torch.isnan(placed.depth)]).all()


def test_an_empty_mask_places_nothing() -> None:
    placed = CropCamera.from_box(CAMERAS["pinhole"], ROI, 64).reproject(
        CAMERAS["pinhole"], torch.ones(64, 64), torch.zeros(64, 64), {"sigma": torch.ones(64, 64)}
    )
    assert torch.isnan(placed.depth).all() and torch.isnan(placed.extras["sigma"]).all()


@given(
    x=st.floats(-100, 600),
    y=st.floats(-100, 440),
    side=st.floats(20, 500),
    name=st.sampled_from(sorted(CAMERAS)),
    roll=st.floats(-3.2, 3.2),
)
@settings(max_examples=40, deadline=None)
def test_every_placed_point_lies_where_the_crop_saw_it(
    x: float, y: float, side: float, name: str, roll: float
) -> None:
    """Points of the crop at a given range are the frame's points: the same place in space."""
    camera = CAMERAS[name]
    crop = CropCamera.from_box(camera, (x, y, side, side), 64, roll=roll)
    placed = crop.reproject(camera, torch.full((64, 64), 0.5), torch.ones(64, 64))
    rays = camera.rays()[placed.slice_y, placed.slice_x].numpy().astype(np.float64)
    points = rays * placed.depth.numpy()[..., None]
    in_crop = points @ rotation_of(crop).T
    np.testing.assert_allclose(in_crop[np.isfinite(in_crop[..., 2])][:, 2], 0.5, atol=1e-5)


def test_shapes_that_do_not_fit_are_refused() -> None:
    camera = CAMERAS["pinhole"]
    crop = CropCamera.from_box(camera, ROI, 64)
    with pytest.raises(CameraError, match="image is"):
        crop.sample(camera, torch.zeros(3, 640, 480))
    with pytest.raises(CameraError, match="depth is"):
        crop.reproject(camera, torch.zeros(32, 32), torch.zeros(64, 64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_what_the_cpu_gives() -> None:
    camera = CAMERAS["plumb_bob"]
    crop = CropCamera.from_box(camera, ROI, 128)
    image = torch.randint(0, 255, (3, 480, 640), dtype=torch.uint8)
    torch.testing.assert_close(
        crop.sample(camera, image.cuda()).cpu(), crop.sample(camera, image), atol=0.05, rtol=0
    )
    hand = crop.rays()[..., :2].norm(dim=-1) * crop.f < 40
    depth = torch.rand(128, 128) + 0.3
    frames = []
    for device in ("cpu", "cuda"):
        placed = crop.reproject(camera, depth.to(device), hand.to(device).float())
        full = torch.full((480, 640), float("nan"))
        full[placed.slice_y, placed.slice_x] = placed.depth.cpu()
        frames.append(full)
    both = torch.isfinite(frames[0]) & torch.isfinite(frames[1])
    assert (torch.isfinite(frames[0]) ^ torch.isfinite(frames[1])).sum() < 10
    torch.testing.assert_close(frames[0][both], frames[1][both], atol=1e-3, rtol=0)
