"""Axis-aligned boxes in pixels: one type, intersection over union, tight boxes of masks and points.

Numpy only.

A box is (x, y, width, height) with (x, y) its upper left corner. The tight box of a single pixel
(u, v) is (u, v, 1, 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A box in pixels; ``x`` and ``y`` are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Return the middle of the box (x, y)."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def longer_side(self) -> float:
        """Return the larger of width and height."""
        return max(self.width, self.height)

    def corners(self) -> np.ndarray:
        """Return the four corners (4, 2), clockwise from the upper left."""
        x, y, w, h = self
        return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])

    def moved(self, dx: float, dy: float) -> Box:
        """Return the box shifted by (dx, dy)."""
        return Box(self.x + dx, self.y + dy, self.width, self.height)

    def clipped(self, width: float, height: float) -> Box:
        """Return the part within an image of that size; its own size may be zero or negative."""
        x0, y0 = max(self.x, 0.0), max(self.y, 0.0)
        x1, y1 = min(self.x + self.width, width), min(self.y + self.height, height)
        return Box(x0, y0, x1 - x0, y1 - y0)

    def iou(self, other: Box) -> float:
        """Return the intersection over union with another box, 0..1."""
        return float(pairwise_iou(np.array(self), np.array(other))[0, 0])


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union (n, m) of boxes (n, 4) and (m, 4); empty boxes give 0."""
    a, b = np.asarray(a, float).reshape(-1, 4)[:, None], np.asarray(b, float).reshape(-1, 4)[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), -1)
    return shared / np.maximum(a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared, 1e-9)


def mask_box(mask: np.ndarray) -> Box | None:
    """Return the tight box of the non-zero pixels of a mask (h, w), None if there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    top, left = float(rows[0]), float(columns[0])
    return Box(left, top, float(columns[-1]) - left + 1, float(rows[-1]) - top + 1)


def points_box(points: np.ndarray) -> Box:
    """Return the tight box of points (n, 2) in pixels; NaN are skipped."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    return Box(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
