"""Masks of hands: connected parts, hulls, visible fraction. numpy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np

from hand_depth_ros.geometry.boxes import Box

_MIN_HAND_PX = 30
"""Smaller connected parts are specks, not hands."""
_MIN_PART_FRACTION = 0.01
"""Parts smaller than this fraction of the largest are dropped: a fingertip beyond a bar is 0.02."""
_MIN_PART_PX = 12
"""Parts with fewer pixels are dropped."""


def visible_fraction(mask: np.ndarray, pixels: np.ndarray) -> float:
    """Return the fraction of a hand's joints that are visible.

    A joint at ``pixels`` (n, 2) of the image counts as visible if the hand's ``mask`` (h, w) is set
    anywhere in the 3 x 3 pixels around it; the others are occluded or outside the image.
    """
    around = np.pad(cv2.dilate((mask != 0).astype(np.uint8), np.ones((3, 3), np.uint8)), 1)
    where = np.where(np.isfinite(pixels), np.round(pixels), -1).astype(np.int64)
    x, y = (np.clip(where[:, axis] + 1, 0, around.shape[1 - axis] - 1) for axis in (0, 1))
    return float(around[y, x].mean())


def hand_parts(mask: np.ndarray) -> tuple[Box, np.ndarray] | None:
    """Return the tight box and convex hull of all visible parts of a hand, None for a speck.

    A thing in front cuts a hand into parts; specks beside them are left out.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    keep = _parts_to_keep(stats)
    if not keep.any():
        return None
    box = _union_box(stats[keep])
    return box, convex_hull(keep[labels], box)


def convex_hull(mask: np.ndarray, box: Box) -> np.ndarray:
    """Return the convex hull (n, 2) of a mask's pixels within ``box``, which holds at least one."""
    x, y, w, h = (round(value) for value in box)
    window = np.ascontiguousarray(mask[y : y + h, x : x + w], np.uint8)
    parts, _ = cv2.findContours(window, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.convexHull(np.concatenate(parts)).reshape(-1, 2).astype(float) + (x, y)


def remove_small_parts(mask: np.ndarray, instance: int) -> Box | None:
    """Remove, in place, the parts of an instance that are far smaller than its largest.

    Args:
        mask: Instance ids (h, w), changed in place.
        instance: The id whose parts are filtered.

    Returns:
        The tight box of what is left, None if the instance is gone.
    """
    rows, columns = np.flatnonzero((mask == instance).any(1)), np.flatnonzero((mask == instance).any(0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    window = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    own = (window == instance).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
    keep = _parts_to_keep(stats)
    if not keep.any():
        window[own > 0] = 0
        return None
    if keep.sum() < count - 1:
        window[(own > 0) & ~keep[labels]] = 0
    return _union_box(stats[keep]).moved(left, top)


def _parts_to_keep(stats: np.ndarray) -> np.ndarray:
    """Select parts by OpenCV's component statistics (n, 5), the background first: bool (n,)."""
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    if areas.max() < _MIN_HAND_PX:
        return np.zeros(len(areas), bool)
    return areas >= max(_MIN_PART_PX, _MIN_PART_FRACTION * areas.max())


def _union_box(stats: np.ndarray) -> Box:
    """Return the box around all parts with these statistics (n, 5)."""
    x0, y0 = stats[:, cv2.CC_STAT_LEFT].min(), stats[:, cv2.CC_STAT_TOP].min()
    x1 = (stats[:, cv2.CC_STAT_LEFT] + stats[:, cv2.CC_STAT_WIDTH]).max()
    y1 = (stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]).max()
    return Box(float(x0), float(y0), float(x1 - x0), float(y1 - y0))
