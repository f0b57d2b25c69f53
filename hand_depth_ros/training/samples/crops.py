"""Samples for the depth network: crops with a rendered, a photographed or no hand.

`crop_sample.CropLabels` says what a sample holds.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch.utils.data import Dataset

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.data.photographs import UNKNOWN, Photograph
from hand_depth_ros.training.samples import augment
from hand_depth_ros.training.samples.crop_geometry import (
    MIN_RELIEF_PX,
    draw_jitter,
    draw_roll,
    joints_in_crop,
    pick_pixels,
)
from hand_depth_ros.training.samples.crop_sample import NO_JOINTS, CropLabels
from hand_depth_ros.training.samples.rendered_crops import rendered_sample
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape, planar_rotation, similarity, warp

Rng = np.random.Generator
_MAX_TRIES = 1000
_HARD_NEGATIVE_FRACTION = 0.4
"""Fraction of the crops without a hand that show a hard negative."""
_NEGATIVE_FROM_BACKGROUND = 0.75
"""Below this draw, and not a hard negative, a crop without a hand is a part of a photograph."""
_GOOD_MASK_WEIGHT, _NEW_BACKGROUND_PROB = 0.8, 0.4
"""Photographs with labels of at least this weight get another background this often."""
_BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
_BORDER_PROBS = (0.5, 0.35, 0.15)


def photograph_sample(
    photograph: Photograph, data: TrainingData, shape: CropShape, rng: Rng
) -> dict[str, Any] | None:
    """Return a crop of one hand of a photograph, or None if it has no usable hand.

    A photograph's camera is unknown, so the crop is a similarity of its pixels, as its labels are
    those of a scaled orthographic camera.
    """
    size = shape.crop_size
    labels = photograph.usable
    if not labels:
        return None
    label = labels[int(rng.integers(len(labels)))]
    pixels = pick_pixels(label.mask == 1, rng)
    if pixels is None:
        return None
    image = photograph.decode()
    roll = draw_roll(label.joints, rng)
    turn = planar_rotation(roll)
    turned = (pixels + np.array((label.x, label.y))) @ turn.T
    centre, extent = draw_jitter(rng).place(turned.min(0), turned.max(0))
    zoom = size / extent
    to_crop = similarity(roll, turn.T @ centre, zoom, size)
    window_to_crop = to_crop @ np.array([[1, 0, label.x], [0, 1, label.y], [0, 0, 1.0]])
    border = _BORDERS[int(rng.choice(3, p=_BORDER_PROBS))]
    rgb = warp(image, shape.to_input(to_crop), shape.input_size, smooth=True, border=border)
    in_window = warp(np.ones_like(label.mask), window_to_crop, size, smooth=False) == 1
    outside = 0 if len(photograph.labels) <= 1 else UNKNOWN  # another hand may be there
    mask = np.where(in_window, warp(label.mask, window_to_crop, size, smooth=False), outside).astype(np.uint8)
    if border != cv2.BORDER_CONSTANT:
        beyond = warp(np.ones(image.shape[:2], np.uint8), to_crop, size, smooth=False) == 0
        mask[beyond] = UNKNOWN
    if label.weight > _GOOD_MASK_WEIGHT and rng.random() < _NEW_BACKGROUND_PROB:
        hand = (label.mask != 0).astype(np.float32)
        keep = warp(hand, shape.to_input(window_to_crop), shape.input_size, smooth=True)[..., None]
        rgb, mask = _replace_background(rgb, mask, keep, data, rng)
    else:
        rgb = augment.tone(rgb, rng, 0.8)
    relief = warp(label.relief, window_to_crop, size, smooth=False)
    relief = np.where(in_window & (mask == 1), relief, np.nan).astype(np.float32)
    if np.isfinite(relief).sum() < MIN_RELIEF_PX:
        return None
    reference = np.float32(np.nanmedian(relief))
    relief -= reference
    joints = joints_in_crop(label.joints, to_crop, size)
    joints[:, 2] = label.joints[:, 2] - reference
    scalars = np.array([label.log_length_px + np.log(zoom / size), np.nan, 1.0], np.float32)
    crop = CropLabels(rgb, mask, relief, joints, scalars, label.weight, is_photograph=True)
    return crop.augmented(data, rng)


def _replace_background(
    rgb: np.ndarray, mask: np.ndarray, keep: np.ndarray, data: TrainingData, rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the hand, where ``keep`` (P, P, 1) is 1, over another background."""
    background = augment.background_crop(data.backgrounds, rgb.shape[:2], rng)
    background = augment.tone(background, rng)
    rgb = (augment.tone(rgb, rng) * keep + background * (1 - keep)).astype(np.uint8)
    kept = cv2.resize(keep[..., 0], mask.shape) >= 0.5
    return rgb, np.where(kept, mask, 0).astype(np.uint8)


def negative_sample(data: TrainingData, shape: CropShape, rng: Rng) -> dict[str, Any]:
    """Return a crop without a hand.

    It shows a background, a hard negative, or a part of a photograph (face, arm, shirt) away from
    every landmark.
    """
    size, input_size = shape.crop_size, shape.input_size
    rgb = augment.background_crop(data.backgrounds, (input_size, input_size), rng)
    dice = rng.random()
    if len(data.hard_negatives) and dice < _HARD_NEGATIVE_FRACTION:
        rgb = _hard_negative(data, shape, rng)
    elif data.photographs and dice < _NEGATIVE_FROM_BACKGROUND:
        part = _part_without_hand(data.photographs[int(rng.integers(len(data.photographs)))], rng)
        if part is not None:
            rgb = cv2.resize(part, (input_size, input_size), interpolation=cv2.INTER_AREA)
    scalars = np.array([np.nan, np.nan, 0.0], np.float32)
    nothing = np.zeros((size, size), np.uint8)
    relief = np.full((size, size), np.nan, np.float32)
    rgb = augment.tone(rgb, rng)
    return CropLabels(rgb, nothing, relief, NO_JOINTS, scalars).augmented(data, rng)


def _hard_negative(data: TrainingData, shape: CropShape, rng: Rng) -> np.ndarray:
    index, *box = data.hard_negatives[int(rng.integers(len(data.hard_negatives)))]
    low, extent = np.array(box[:2]), np.array(box[2:])
    centre, side = draw_jitter(rng).place(low, low + extent)
    to_crop = similarity(-rng.normal(0, 0.35), centre, shape.crop_size / side, shape.crop_size)
    background = data.backgrounds[int(index)]
    return warp(background, shape.to_input(to_crop), shape.input_size, smooth=True)


def _part_without_hand(photograph: Photograph, rng: Rng) -> np.ndarray | None:
    """Return a square part of a photograph, or None if a landmark is in or near it."""
    image = photograph.decode()
    side = int(rng.uniform(0.2, 0.7) * min(image.shape[:2]))
    x, y = (int(rng.integers(0, image.shape[axis] - side + 1)) for axis in (1, 0))
    points = photograph.landmarks.reshape(-1, 2)
    low, high = np.array([x, y]) - 0.15 * side, np.array([x, y]) + 1.15 * side
    if not len(points) or ((points > low) & (points < high)).all(1).any():
        return None
    return image[y : y + side, x : x + side]


class CropDataset(Dataset[dict[str, Any]]):
    """Crop samples, ``length`` per epoch.

    Sample i of an epoch depends on (seed, epoch, i) alone, so that a resumed run draws the same.
    """

    def __init__(self, data: TrainingData, shape: CropShape, length: int, seed: int) -> None:
        self.data, self.shape, self.length, self.seed = data, shape, length, seed
        self.epoch = 0
        self._hands = [(view, hand) for view in data.views for hand in view.hands]
        self._photographs = [photograph for photograph in data.photographs if photograph.usable]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        for _ in range(_MAX_TRIES):
            sample = self._draw(rng)
            if sample is not None:
                return sample
        raise DatasetError(
            f"no usable sample in {_MAX_TRIES} tries: are the views or the photographs' labels too poor?"
        )

    def _draw(self, rng: Rng) -> dict[str, Any] | None:
        dice, data = rng.random(), self.data
        if dice < data.negative_fraction:
            return negative_sample(data, self.shape, rng)
        if self._photographs and dice < data.negative_fraction + data.real_fraction:
            photograph = self._photographs[int(rng.integers(len(self._photographs)))]
            return photograph_sample(photograph, data, self.shape, rng)
        if self._hands:
            view, hand = self._hands[int(rng.integers(len(self._hands)))]
            return rendered_sample(view.decode(), hand, data, self.shape, rng)
        return None
