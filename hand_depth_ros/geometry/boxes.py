"""Boxes and masks of hands: tight boxes, connected parts, from crop to frame. numpy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np

from hand_depth_ros.errors import CameraError
from hand_depth_ros.estimation.detector import Detection
from hand_depth_ros.estimation.result import Roi
from hand_depth_ros.geometry.camera import Camera, CropCamera

_SMALLEST_HAND_PX = 30
_SMALLEST_PART = 0.15


def inside(found: list[Detection], camera: Camera) -> list[Detection]:
    """Boxes cut to the frame, those with nothing left dropped."""
    kept = []
    for (x, y, w, h), score in found:
        x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, camera.width), min(y + h, camera.height)
        if x1 - x0 >= 4 and y1 - y0 >= 4:
            kept.append(Detection((x0, y0, x1 - x0, y1 - y0), score))
    return kept


def visible_fraction(mask: np.ndarray, pixels: np.ndarray) -> float:
    """How much of a hand can be seen: the share of its joints, at ``pixels`` (n, 2) of the picture, that have one of the hand's
    ``mask`` (h, w) in the 3 x 3 pixels around them; the others are hidden, or beyond the picture's edge."""
    around = np.pad(cv2.dilate((mask != 0).astype(np.uint8), np.ones((3, 3), np.uint8)), 1)
    where = np.where(np.isfinite(pixels), np.round(pixels), -1).astype(np.int64)
    x, y = (np.clip(where[:, axis] + 1, 0, around.shape[1 - axis] - 1) for axis in (0, 1))
    return float(around[y, x].mean())


def largest_part(mask: np.ndarray) -> tuple[Roi, np.ndarray] | None:
    """Tight box of the largest connected part and the corners of its hull (see :func:`outline`), None when that is a speck."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    number = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, w, h, area = stats[number].tolist()
    if area < _SMALLEST_HAND_PX:
        return None
    roi = (float(x), float(y), float(w), float(h))
    return roi, outline(labels == number, roi)


def outline(mask: np.ndarray, roi: Roi) -> np.ndarray:
    """Corners of the convex hull of a mask's pixels in the box ``roi``, (n, 2) x, y; at least one pixel is there."""
    x, y, w, h = (round(value) for value in roi)
    window = np.ascontiguousarray(mask[y : y + h, x : x + w], np.uint8)
    parts, _ = cv2.findContours(window, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.convexHull(np.concatenate(parts)).reshape(-1, 2).astype(float) + (x, y)


def corners(roi: Roi) -> np.ndarray:
    """The four corners of a box, (4, 2)."""
    x, y, w, h = roi
    return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])


def keep_largest(mask: np.ndarray, number: int) -> Roi | None:
    """Remove (in place) parts of instance ``number`` far smaller than its largest; the tight box of the rest, or None."""
    rows, columns = np.flatnonzero((mask == number).any(1)), np.flatnonzero((mask == number).any(0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    window = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    own = (window == number).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    if areas.max() < _SMALLEST_HAND_PX:
        window[own > 0] = 0
        return None
    keep = areas >= _SMALLEST_PART * areas.max()
    if keep.sum() < count - 1:
        window[(own > 0) & ~keep[labels]] = 0
    x0, y0 = stats[keep, cv2.CC_STAT_LEFT].min(), stats[keep, cv2.CC_STAT_TOP].min()
    x1 = (stats[keep, cv2.CC_STAT_LEFT] + stats[keep, cv2.CC_STAT_WIDTH]).max()
    y1 = (stats[keep, cv2.CC_STAT_TOP] + stats[keep, cv2.CC_STAT_HEIGHT]).max()
    return float(left + x0), float(top + y0), float(x1 - x0), float(y1 - y0)


def to_frame(crop: CropCamera, camera: Camera, box: Roi) -> Roi:
    """A box of the crop as the box around it in the frame, cut to the frame."""
    x, y, w, h = box
    t = np.linspace(0, 1, 5)
    border = np.concatenate([np.stack((x + w * t, np.full(5, y + h * s)), 1) for s in t])
    pixels = crop.to_frame(camera, border)
    pixels = pixels[np.isfinite(pixels).all(1)]
    if not len(pixels):
        raise CameraError("a crop lies where this lens has no rays")
    low = np.maximum(pixels.min(0), 0)
    high = np.minimum(pixels.max(0), (camera.width, camera.height))
    size = np.maximum(high - low, 4)
    return float(low[0]), float(low[1]), float(size[0]), float(size[1])
