"""Augmentation keeps images images, and each effect does what its name says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hand_depth_ros.training.samples import augment
from hand_depth_ros.training.samples.exposure import expose, motion_blur
from hand_depth_ros.training.samples.occluders import occluder_mask, occluder_texture

IMAGE = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), (64, 64))


def test_augmentation_keeps_shape_and_type() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        out = expose(augment.degrade(augment.tone(IMAGE, rng), rng), rng)
        assert out.shape == IMAGE.shape and out.dtype == np.uint8


def test_exposure_burns_out_and_darkens() -> None:
    means, clipped = [], []
    for seed in range(40):
        out = expose(IMAGE, np.random.default_rng(seed))
        means.append(out.mean() / IMAGE.mean())
        clipped.append((out == 255).mean())
    assert min(means) < 0.35 and max(means) > 1.4
    assert max(clipped) > 0.4 and min(clipped) < 0.01


@pytest.mark.parametrize(("angle", "axis"), [(0.0, 1), (np.pi / 2, 0)])
def test_motion_blur_smears_along_its_line_alone(angle: float, axis: int) -> None:
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[20, 20] = 255
    rows, columns = np.nonzero(motion_blur(dot, 11, angle)[..., 0])
    extent = {0: np.ptp(rows) + 1, 1: np.ptp(columns) + 1}
    assert extent[axis] == 11 and extent[1 - axis] == 1


def test_motion_blur_keeps_brightness() -> None:
    flat = np.full((32, 32, 3), 120, np.uint8)
    assert np.abs(motion_blur(flat, 9, 0.7).astype(int) - 120).max() <= 1


def test_occluders_are_near_the_hand_and_leave_part_of_it_visible() -> None:
    hand = np.zeros((200, 260), bool)
    hand[70:130, 100:160] = True
    visible, parts = [], []
    for seed in range(60):
        area = occluder_mask((200, 260), np.array([130.0, 100.0]), 60.0, np.random.default_rng(seed))
        assert area.shape == hand.shape and area.any()
        left = hand & ~area
        visible.append(left.sum() / hand.sum())
        parts.append(cv2.connectedComponents(left.astype(np.uint8))[0] - 1)
    assert np.median(visible) < 0.95 and np.mean(np.array(visible) > 0.2) > 0.9
    assert max(parts) >= 2  # a bar cuts the hand into parts


def test_occluders_show_backgrounds_or_plain_colours() -> None:
    red = [np.full((50, 50, 3), (250, 0, 0), np.uint8)]
    textures = [occluder_texture(red, (40, 60), np.random.default_rng(seed)) for seed in range(20)]
    assert all(texture.shape == (40, 60, 3) and texture.dtype == np.uint8 for texture in textures)
    spread = [np.ptp(texture.reshape(-1, 3).mean(0)) for texture in textures]
    assert max(spread) > 120 and min(spread) < 120
