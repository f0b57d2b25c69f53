"""Crop samples of rendered hands, seen by the same crop camera as in inference."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from hand_depth_ros.geometry.crop_camera import CropCamera, smallest_rotation
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M, hand_length
from hand_depth_ros.geometry.masks import visible_fraction
from hand_depth_ros.training.data.rendered import Intrinsics, RenderedHand, RenderedView
from hand_depth_ros.training.samples import augment
from hand_depth_ros.training.samples.crop_geometry import (
    MIN_RELIEF_PX,
    draw_jitter,
    draw_roll,
    joints_in_crop,
    pick_pixels,
)
from hand_depth_ros.training.samples.crop_sample import CropLabels
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape, warp

Rng = np.random.Generator
_MIN_RAY_Z = 1e-3
_BLURRED_BACKGROUND_PROB = 0.3
_TRUNCATION_RANGE = (0.1, 0.65)
"""Depth to which an edge of the frame cuts into the hand, as a fraction of its extent."""


class _Placement(NamedTuple):
    """A crop camera for one hand of a view, and the hand as that camera sees it.

    Attributes:
        crop: The crop camera.
        stretch: (3, 3) change of the hand's proportions, in crop axes.
        to_crop: Homography (3, 3) from the view's pixels to crop pixels.
        joints_m: (21, 3) joints in crop axes before the stretch, metres; NaN unknown.
        length_m: Hand length after the stretch, metres.
    """

    crop: CropCamera
    stretch: np.ndarray
    to_crop: np.ndarray
    joints_m: np.ndarray
    length_m: float


class _Labels(NamedTuple):
    """Mask and relief in the crop, as in `CropLabels`, and the hand's median depth in metres."""

    mask: np.ndarray
    relief: np.ndarray
    median_depth_m: float


def rendered_sample(
    view: RenderedView, hand: RenderedHand, data: TrainingData, shape: CropShape, rng: Rng
) -> dict[str, Any] | None:
    """Return a crop of a rendered hand over a background, or None if little is visible."""
    hand_mask = (view.mask == hand.instance).astype(np.uint8)
    if _is_sliver(hand, hand_mask, data.min_visible_fraction):
        return None
    frame = _frame_area(view, hand_mask, data.truncation_prob, rng)
    if frame is not None:
        hand_mask &= frame
    pixels = pick_pixels(hand_mask, rng)
    if pixels is None:
        return None
    placement = _place(view, hand, pixels, data.aspect_jitter_std, shape.crop_size, rng)
    labels = _labels(view, hand_mask, placement)
    if labels is None:
        return None
    rgb = _image(view, frame, placement, data, shape, rng)
    joints = joints_in_crop(hand.joints, placement.to_crop, shape.crop_size)
    joints[:, 2] = (placement.joints_m[:, 2] - labels.median_depth_m) / placement.length_m
    scalars = _scalars(placement, labels.median_depth_m)
    return CropLabels(rgb, labels.mask, labels.relief, joints, scalars).augmented(data, rng)


def crop_camera(joints: np.ndarray, pixels: np.ndarray, k: Intrinsics, size: int, rng: Rng) -> CropCamera:
    """Draw the crop camera for a hand: about upright, about where a detection would put it.

    Args:
        joints: (21, 2 or 3) x, y in pixels of the view; NaN unknown.
        pixels: (n, 2) pixels of the hand's mask.
        k: fx, fy, cx, cy of the view.
        size: Side of the crop in pixels.
        rng: Random generator.
    """
    rays = _rays(pixels, k)
    level = _rays(joints[:, :2], k) @ smallest_rotation(rays.mean(0)).T
    roll = draw_roll(level[:, :2] / level[:, 2:], rng)
    jitter = draw_jitter(rng)
    return CropCamera.from_rays(rays, size, jitter.margin, roll, jitter.offset)


def _rays(pixels: np.ndarray, k: Intrinsics) -> np.ndarray:
    """Return the rays (n, 3) with z = 1 of pixels (n, 2)."""
    fx, fy, cx, cy = k
    return np.column_stack(((pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy, np.ones(len(pixels))))


def _is_sliver(hand: RenderedHand, hand_mask: np.ndarray, min_visible_fraction: float) -> bool:
    """Return True if the hand's joints are known and too few of them can be seen."""
    if not np.isfinite(hand.joints).all():
        return False
    return visible_fraction(hand_mask, hand.joints[:, :2]) < min_visible_fraction


def _frame_area(
    view: RenderedView, hand_mask: np.ndarray, truncation_prob: float, rng: Rng
) -> np.ndarray | None:
    """Return the area that the frame shows, uint8 (h, w), 1 inside.

    That is all of the view, or one side of an edge that cuts the hand. None for an uncut crop set's
    view, whose surroundings are in the frame as well.
    """
    cut = truncation_prob > 0 and rng.random() < truncation_prob
    if not cut and (truncation_prob == 0 or view.size[0] == view.size[1]):
        return None
    inside = np.ones(view.size, np.uint8)
    if cut:
        axis = int(rng.integers(2))
        lines = np.flatnonzero(hand_mask.any(1 - axis))
        low, high = (lines[0], lines[-1]) if len(lines) else (0, view.size[axis])
        edge = int(low + (high - low) * rng.uniform(*_TRUNCATION_RANGE))
        across = inside if axis == 0 else inside.T
        if rng.random() < 0.5:
            across[:edge] = 0
        else:
            across[low + high - edge :] = 0
    return inside


def _place(
    view: RenderedView, hand: RenderedHand, pixels: np.ndarray, aspect_jitter_std: float, size: int, rng: Rng
) -> _Placement:
    """Draw the crop camera and the hand's proportions."""
    crop = crop_camera(hand.joints, pixels, view.k, size, rng)
    fx, fy, cx, cy = view.k
    to_ray = np.array(crop.rotation) @ np.linalg.inv(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
    homogeneous = np.column_stack((hand.joints[:, :2], np.ones(len(hand.joints))))
    joints_m = (homogeneous @ to_ray.T) * hand.joints[:, 2:]  # rays whose z was 1 before the turn
    stretch, length_m = np.eye(3), hand.length_m
    if aspect_jitter_std > 0 and np.isfinite(joints_m).all():
        stretch = _draw_stretch(aspect_jitter_std, rng)
        length_m *= hand_length(joints_m @ stretch.T) / hand_length(joints_m)
    return _Placement(crop, stretch, crop.matrix @ stretch @ to_ray, joints_m, length_m)


def _draw_stretch(std: float, rng: Rng) -> np.ndarray:
    """Draw a (3, 3) stretch along one direction across the optical axis, inverse along the other.

    The camera's image is stretched the same way: a hand of other proportions at the same depths.
    """
    direction, k = rng.uniform(0, np.pi), float(np.exp(rng.normal(0, std)))
    cos, sin = np.cos(direction), np.sin(direction)
    turn = np.array([[cos, -sin], [sin, cos]])
    stretch = np.eye(3)
    stretch[:2, :2] = turn @ np.diag((k, 1 / k)) @ turn.T
    return stretch


def _labels(view: RenderedView, hand_mask: np.ndarray, placement: _Placement) -> _Labels | None:
    """Warp mask and depth into the crop; None if too few pixels have a depth."""
    crop = placement.crop
    size, f, c = crop.size, np.float32(crop.f), np.float32(crop.centre)
    mask = warp(hand_mask, placement.to_crop, size, smooth=False)
    depth = warp(view.depth_m, placement.to_crop, size, smooth=False)
    known = (mask == 1) & (depth > 0)
    if np.count_nonzero(known) < MIN_RELIEF_PX:
        return None
    steps = (np.arange(size, dtype=np.float32) - c) / f
    to_view_z = (np.linalg.inv(placement.stretch).T @ np.array(crop.rotation))[:, 2].astype(np.float32)
    right, down, ahead = to_view_z
    view_z = np.maximum(right * steps + (down * steps + ahead)[:, None], np.float32(_MIN_RAY_Z))
    depth_in_crop = depth / view_z  # view_z: z in the view of the crop pixel's ray
    median = float(np.median(depth_in_crop[known]))
    relief = (depth_in_crop - np.float32(median)) / np.float32(placement.length_m)
    return _Labels(mask, np.where(known, relief, np.float32(np.nan)), median)


def _image(
    view: RenderedView,
    frame: np.ndarray | None,
    placement: _Placement,
    data: TrainingData,
    shape: CropShape,
    rng: Rng,
) -> np.ndarray:
    """Return the image (P, P, 3): the view over a background, black outside the frame."""
    size = shape.input_size
    to_input = shape.to_input(placement.to_crop)
    colour, alpha = augment.tone(view.rgba[..., :3], rng, 0.7), view.rgba[..., 3]
    premultiplied = cv2.merge(
        [*cv2.split(cv2.multiply(colour, cv2.merge([alpha] * 3), scale=1 / 255)), alpha]
    )
    rgba = warp(premultiplied, to_input, size, smooth=True)
    background = augment.tone(augment.background_crop(data.backgrounds, (size, size), rng), rng)
    if rng.random() < _BLURRED_BACKGROUND_PROB:
        background = cv2.GaussianBlur(background, (0, 0), float(rng.uniform(0.5, 4)))
    rgb = cv2.add(
        cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB),
        cv2.multiply(background, cv2.merge([255 - rgba[..., 3]] * 3), scale=1 / 255),
    )
    if frame is not None:
        rgb *= warp(frame, to_input, size, smooth=False)[..., None]
    return rgb


def _scalars(placement: _Placement, median_depth_m: float) -> np.ndarray:
    """Return log apparent size, log relative hand length and presence, float32 (3,)."""
    crop, length_m = placement.crop, placement.length_m
    log_apparent_size = np.log(crop.f * length_m / median_depth_m / crop.size)
    return np.array([log_apparent_size, np.log(length_m / MEAN_HAND_LENGTH_M), 1.0], np.float32)
