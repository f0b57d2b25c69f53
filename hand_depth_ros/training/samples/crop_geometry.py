"""Geometry of crop samples: which pixels, which roll, how much jitter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hand_depth_ros.geometry.crop_camera import MARGIN
from hand_depth_ros.geometry.hand import MIN_PALM_FRACTION, wrist_to_knuckles

Rng = np.random.Generator
MIN_MASK_PX = 50
MIN_RELIEF_PX = 60
_PICKED_PIXELS = 300
_ANY_ROLL_PROB = 0.3
"""Fraction of hands at any roll, as in a detection's first verification."""
_UPRIGHT_STD = 0.2
_UNKNOWN_UP_STD = 0.35
"""Standard deviation of the roll, radians, where the palm points at the camera and no way is up."""
_OFFSET_STD = 0.06
_LOG_MARGIN_MEAN, _LOG_MARGIN_STD = 0.02, 0.13


class Jitter(NamedTuple):
    """Error of a crop's placement, as that of a detected box or of the last frame's mask.

    Attributes:
        offset: (2,) shift of the crop's centre, in longer sides of the hand's box.
        margin: Side of the crop over the longer side of the hand's box.
    """

    offset: np.ndarray
    margin: float

    def place(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, float]:
        """Return centre (2,) and side of the crop for a hand between ``low`` and ``high`` (2,)."""
        side = float((high - low).max())
        return (low + high) / 2 + self.offset * side, self.margin * side


def draw_jitter(rng: Rng) -> Jitter:
    """Draw the placement error of a crop."""
    offset = rng.normal(0, _OFFSET_STD, 2)
    return Jitter(offset, MARGIN * float(np.exp(rng.normal(_LOG_MARGIN_MEAN, _LOG_MARGIN_STD))))


def draw_roll(joints: np.ndarray, rng: Rng) -> float:
    """Draw the roll, radians counter-clockwise, of a crop of a hand.

    Args:
        joints: (21, 2 or 3) x, y as a crop without roll shows them.
        rng: Random generator.
    """
    if rng.random() < _ANY_ROLL_PROB:
        return -float(rng.uniform(-np.pi, np.pi))
    right, down = wrist_to_knuckles(joints)
    extent = float(np.ptp(joints[:, :2], axis=0).max())
    if not np.hypot(right, down) > MIN_PALM_FRACTION * extent:
        return -float(rng.normal(0, _UNKNOWN_UP_STD))
    return float(np.arctan2(right, -down) - rng.normal(0, _UPRIGHT_STD))


def pick_pixels(mask: np.ndarray, rng: Rng) -> np.ndarray | None:
    """Return x, y (n, 2) of random pixels of a mask, or None if it has too few."""
    ys, xs = np.nonzero(mask)
    if len(xs) < MIN_MASK_PX:
        return None
    chosen = rng.integers(0, len(xs), _PICKED_PIXELS)
    return np.column_stack((xs[chosen], ys[chosen])).astype(np.float64)


def joints_in_crop(joints: np.ndarray, h: np.ndarray, size: int) -> np.ndarray:
    """Return joints (n, 3) with x, y in -1..1 of a crop.

    Args:
        joints: (n, 3), x and y in pixels.
        h: Homography (3, 3) from those pixels to the crop's.
        size: Side of the crop in pixels.
    """
    x, y, w = h @ np.vstack((joints[:, :2].T, np.ones(len(joints))))
    c = (size - 1) / 2
    return np.column_stack(((x / w - c) * 2 / size, (y / w - c) * 2 / size, joints[:, 2]))
