"""Crop samples of rendered hands: alignment, truncation, visibility, proportions, crop camera."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.crop_samples import SIDE, leaning, only_rendered, pointing_view
from support.drawn_hands import SKIN

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.crop_camera import MARGIN, CropCamera
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M
from hand_depth_ros.training.data.rendered import RenderedView
from hand_depth_ros.training.samples import rendered_crops
from hand_depth_ros.training.samples.crop_geometry import Jitter
from hand_depth_ros.training.samples.rendered_crops import crop_camera, rendered_sample
from hand_depth_ros.training.samples.warp import CropShape


@pytest.mark.parametrize("input_size", [SIDE, SIDE * 7 // 4])
@pytest.mark.parametrize("angle", [0.0, np.pi / 2, -np.pi / 2, 2.8])
def test_rendered_hand_is_upright_with_joints_depth_and_image_aligned(
    no_noise: None, angle: float, input_size: int
) -> None:
    view = pointing_view(angle)
    blue = np.full((90, 90, 3), (0, 0, 255), np.uint8)
    for seed in range(4):
        data = dataclasses.replace(only_rendered(view), backgrounds=[blue])
        sample = rendered_sample(
            view, view.hands[0], data, CropShape(SIDE, input_size), np.random.default_rng(seed)
        )
        assert sample is not None
        assert abs(leaning(sample)) < 3
        rows, columns = np.nonzero(sample["mask"])
        assert np.ptp(rows) + 1 == pytest.approx(SIDE / 1.35, abs=4)  # not every pixel is looked at
        assert (
            abs(rows.min() + rows.max() - SIDE + 1) < 4 and abs(columns.min() + columns.max() - SIDE + 1) < 4
        )
        wrist_end, tips = (sample["mask"][row].sum() for row in (rows.max() - 3, rows.min() + 3))
        assert wrist_end > 1.8 * tips  # it isn't upside down
        u, v = np.round((sample["joints"][:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
        assert (sample["mask"][v, u] == 1).all()
        np.testing.assert_allclose(sample["joints"][:, 2], sample["relief"][v, u], atol=0.02)
        shown = cv2.resize(sample["mask"], (input_size, input_size), interpolation=cv2.INTER_NEAREST)
        within, near = cv2.erode(shown, np.ones((5, 5))) > 0, cv2.dilate(shown, np.ones((5, 5))) > 0
        red = sample["rgb"][0].astype(int) - sample["rgb"][2]
        assert red.shape == (input_size, input_size) and (red[within] > 0).all() and (red[~near] <= 0).all()


WHITE = np.full((90, 90, 3), 200, np.uint8)


def test_truncated_hand_is_black_and_unlabelled_beyond_frame_edge(no_noise: None) -> None:
    view = pointing_view(0.0)

    def sample(seed: int, truncation_prob: float = 1.0) -> dict[str, Any]:
        data = dataclasses.replace(only_rendered(view), backgrounds=[WHITE], truncation_prob=truncation_prob)
        made = rendered_sample(view, view.hands[0], data, CropShape(SIDE, SIDE), np.random.default_rng(seed))
        assert made is not None
        return made

    whole = sample(0, truncation_prob=0.0)
    assert whole["rgb"].any(0).all()  # the image goes on around a crop that isn't cut
    lost = []
    for seed in range(12):
        cut = sample(seed)
        black = ~cut["rgb"].any(0)
        assert black.any() and not cut["mask"][black].any() and not np.isfinite(cut["relief"][black]).any()
        assert np.nanmedian(cut["relief"]) == pytest.approx(0, abs=0.02)  # of what is left in the frame
        hand = np.nanmean(np.where(cut["mask"] == 1, cut["rgb"][0].astype(float), np.nan))
        assert hand == pytest.approx(SKIN[0], abs=2)
        f = np.exp(cut["scalars"][0] - whole["scalars"][0])  # zoom onto the rest of the hand
        lost.append(1 - cut["mask"].sum() / whole["mask"].sum() / f**2)
    assert min(lost) > 0.02 and max(lost) < 0.9 and max(lost) > 0.3


def test_min_visible_fraction_skips_slivers(no_noise: None) -> None:
    view = pointing_view(0.0)
    (hand,) = view.hands
    beyond = hand.joints.copy()
    beyond[:16, 0] += 300.0
    sliver = view._replace(hands=(hand._replace(joints=beyond),))  # five of 21 are visible

    def made(view: RenderedView, min_visible_fraction: float) -> bool:
        data = dataclasses.replace(only_rendered(view), min_visible_fraction=min_visible_fraction)
        sample = rendered_sample(view, view.hands[0], data, CropShape(SIDE, SIDE), np.random.default_rng(0))
        return sample is not None

    assert made(view, 1.0) and made(sliver, 0.0) and made(sliver, 0.23) and not made(sliver, 0.25)


def test_surroundings_of_rendered_frame_are_black(no_noise: None) -> None:
    whole = pointing_view(0.0)
    fx, fy, cx, cy = whole.k
    frame = whole._replace(  # cut through the fingers: a crop of the rest shows what is above
        rgba=whole.rgba[70:], depth_m=whole.depth_m[70:], mask=whole.mask[70:], k=(fx, fy, cx, cy - 70)
    )
    data = dataclasses.replace(only_rendered(frame), backgrounds=[WHITE], truncation_prob=1e-9)
    sample = rendered_sample(frame, frame.hands[0], data, CropShape(SIDE, SIDE), np.random.default_rng(0))
    assert sample is not None
    black = ~sample["rgb"].any(0)
    assert black[:6].all() and not black[12:].any()


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_aspect_jitter_changes_proportions_and_keeps_depths(no_noise: None, angle: float) -> None:
    """Joints along the middle finger are as far apart as the sample's hand length says."""
    view = pointing_view(angle)
    away = float(np.median(view.depth_m[view.mask == 1]))

    def finger(sample: dict[str, Any]) -> tuple[float, float]:
        """Its length in hand lengths, and the hand's, metres."""
        length = float(np.exp(sample["scalars"][1]) * MEAN_HAND_LENGTH_M)
        x, y, z = sample["joints"][[0, 9, 10, 11, 12]].T
        wider = np.exp(-sample["scalars"][0]) / 2 * (1 + z * length / away)
        bones = np.diff(np.column_stack((x * wider, y * wider, z)), axis=0)
        return float(np.linalg.norm(bones, axis=1).sum()), length

    def sample(stretch: float, seed: int) -> dict[str, Any]:
        data = dataclasses.replace(only_rendered(view), aspect_jitter_std=stretch)
        made = rendered_sample(view, view.hands[0], data, CropShape(SIDE, SIDE), np.random.default_rng(seed))
        assert made is not None
        return made

    plain = sample(0.0, 0)
    expected, unstretched = finger(plain)
    assert unstretched == pytest.approx(0.18)
    lengths = []
    for seed in range(6):
        stretched = sample(0.1, seed)
        found, length = finger(stretched)
        lengths.append(length)
        assert found == pytest.approx(expected, rel=0.01)
        u, v = np.round((stretched["joints"][:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
        assert (stretched["mask"][v, u] == 1).all()
        np.testing.assert_allclose(stretched["joints"][:, 2], stretched["relief"][v, u], atol=0.03)
        tip, tip_before = (s["joints"][12, 2] - s["joints"][0, 2] for s in (stretched, plain))
        assert tip * length == pytest.approx(tip_before * 0.18, abs=0.002)  # metres: as in the view
    assert max(lengths) > 0.185 and min(lengths) < 0.175


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation about an axis by an angle, from OpenCV."""
    return cv2.Rodrigues(axis / np.linalg.norm(axis) * angle)[0]


def test_crop_camera_of_a_sample_is_that_of_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jitter, a sample's camera is the one that the estimator builds for the same pixels.

    The two weight rays slightly differently (by distance from the image or from the camera), which
    may change the roll by less than a degree and the focal length accordingly.
    """
    monkeypatch.setattr(rendered_crops, "draw_jitter", lambda _: Jitter(np.zeros(2), MARGIN))
    for angle in (0.0, 0.8, -2.0):
        view = pointing_view(angle)
        h, w = view.size
        camera = Camera(w, h, *view.k)
        pixels = np.argwhere(view.mask)[:, ::-1].astype(float)
        for roll in (0.0, 0.5, -1.2):
            monkeypatch.setattr(rendered_crops, "draw_roll", lambda *_, roll=roll: roll)
            made = crop_camera(view.hands[0].joints, pixels, view.k, SIDE, np.random.default_rng(0))
            used = CropCamera.from_points(camera, pixels, SIDE, roll=roll)
            np.testing.assert_allclose(np.array(made.rotation), np.array(used.rotation), atol=0.01)
            assert made.f == pytest.approx(used.f, rel=0.01) and made.size == used.size


def test_crop_camera_of_a_sample_aims_beside_the_hand_by_its_jitter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The camera agrees with an independent construction: turn to the mean ray, roll, re-aim."""
    view, offset, margin, roll = pointing_view(0.4), np.array((0.08, -0.05)), 1.6, 0.7
    monkeypatch.setattr(rendered_crops, "draw_jitter", lambda _: Jitter(offset, margin))
    monkeypatch.setattr(rendered_crops, "draw_roll", lambda *_: roll)
    pixels = np.argwhere(view.mask)[:, ::-1].astype(float)
    made = crop_camera(view.hands[0].joints, pixels, view.k, SIDE, np.random.default_rng(0))

    fx, fy, cx, cy = view.k
    rays = np.column_stack(((pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy, np.ones(len(pixels))))

    def towards(ray: np.ndarray) -> np.ndarray:
        ray = ray / np.linalg.norm(ray)
        return rotation_about(np.cross(ray, (0, 0, 1)), float(np.arccos(ray[2])))

    turned = rotation_about(np.array((0, 0, 1.0)), -roll) @ towards(rays.mean(0))
    projected = rays @ turned.T
    projected = projected[:, :2] / projected[:, 2:]
    extent = float(np.ptp(projected, axis=0).max())
    aim = (projected.min(0) + projected.max(0)) / 2 + offset * extent
    expected = towards(np.append(aim, 1.0)) @ turned
    np.testing.assert_allclose(np.array(made.rotation), expected, atol=1e-9)
    assert made.f == pytest.approx(SIDE / (margin * extent), rel=1e-9)


def test_image_of_a_sample_is_what_the_crop_camera_sees(
    no_noise: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warping by homography (training) and resampling by rays (inference) give the same image."""
    plain = pointing_view(0.3)
    size = plain.size[0]
    texture = cv2.resize(
        np.random.default_rng(1).integers(0, 255, (12, 12, 3), np.uint8),
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )
    view = plain._replace(rgba=np.dstack((texture, np.full((size, size), 255, np.uint8))))
    made: list[CropCamera] = []

    def remember(*arguments: Any) -> CropCamera:
        made.append(crop_camera(*arguments))
        return made[-1]

    monkeypatch.setattr(rendered_crops, "crop_camera", remember)
    data = dataclasses.replace(only_rendered(view), backgrounds=[WHITE])
    sample = rendered_sample(view, view.hands[0], data, CropShape(SIDE, SIDE), np.random.default_rng(3))
    assert sample is not None
    image = torch.from_numpy(texture).permute(2, 0, 1)
    projected = made[0].sample(Camera(size, size, *view.k), image).numpy()
    rgb = sample["rgb"].astype(float)
    error = min((np.abs(each - projected) for each in (rgb, rgb[:, :, ::-1])), key=lambda e: float(e.mean()))
    assert error.mean() < 1.0 and np.percentile(error, 99) < 12  # the view's edge is in the rest
