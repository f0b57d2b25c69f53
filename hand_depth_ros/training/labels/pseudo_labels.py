"""Pseudo labels from hand landmarks: a hand of sphere-swept bones, its depth, and a mask cut along the picture's edges.

A landmark file gives 21 joints per hand, in pixels and as metres in camera-aligned axes with an arbitrary origin. Under a
scaled orthographic camera these give a surface (each bone a cone with spherical ends), hence relief in hand lengths;
GrabCut (Rother et al. 2004) seeded by that surface gives a mask that follows the image. All of it is an opinion: the
weight says how well the two agree.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from hand_depth_ros.geometry.hand import WRIST, hand_length

VERSION = 5
"""To be raised when labels change, so that caches are made anew."""

_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
# Radii for a hand of 0.18 m (wrist to middle fingertip), in metres: CMC..tip of the thumb, MCP..tip of the fingers.
_THUMB_RADII = (0.0150, 0.0120, 0.0100, 0.0080)
_FINGER_RADII = (0.0110, 0.0090, 0.0080, 0.0068)
_LITTLE = 0.85
_PALM_RADIUS = 0.0135
_REFERENCE_LENGTH_M = 0.18


class PseudoLabel(NamedTuple):
    """Labels of one hand in a window of its image.

    x, y       of the window's first pixel in the image
    mask       uint8 (h, w): 1 hand, 0 not the hand, 255 unknown
    relief     float32 (h, w): (z - z_ref) / L in hand lengths, NaN where unknown; z_ref is the median
    log_length_px  log of the apparent hand length in image pixels
    weight     0..1, agreement of the landmarks' surface with the picture
    joints     float32 (21, 3): x, y in pixels of the image, z as the relief
    """

    x: int
    y: int
    mask: np.ndarray
    relief: np.ndarray
    log_length_px: float
    weight: float
    joints: np.ndarray


def pixels_per_metre(px: np.ndarray, world: np.ndarray) -> float:
    """Least-squares scale of the scaled orthographic camera that maps ``world`` (21, 3) to ``px`` (21, 2)."""
    a, b = px - px.mean(0), world[:, :2] - world[:, :2].mean(0)
    return float((a * b).sum() / max(float((b * b).sum()), 1e-9))


def _bones(length_m: float) -> list[tuple[int, int, float, float]]:
    k = length_m / _REFERENCE_LENGTH_M
    bones = []
    for number, finger in enumerate(_FINGERS):
        radii = (
            _THUMB_RADII
            if number == 0
            else tuple(r * (_LITTLE if number == 4 else 1.0) for r in _FINGER_RADII)
        )
        bones += [
            (a, b, ra, rb)
            for a, b, ra, rb in zip(finger[:-1], finger[1:], radii[:-1], radii[1:], strict=True)
        ]
    palm = _PALM_RADIUS
    bones += [(WRIST, j, palm * 1.1, palm) for j in (1, 5, 9, 13, 17)]
    bones += [
        (1, 5, 0.012, 0.011),
        (5, 9, palm, palm),
        (9, 13, palm, palm),
        (13, 17, palm, palm),
        (2, 5, 0.006, 0.010),
    ]
    return [(a, b, ra * k, rb * k) for a, b, ra, rb in bones]


def swept_surface(joints_px: np.ndarray, length_px: float, shape: tuple[int, int]) -> np.ndarray:
    """Depth of the nearest surface of the sphere-swept hand, (h, w) in pixels (NaN: none).

    ``joints_px`` (21, 3): x, y in pixels, z in the same unit, positive away from the camera.
    """
    h, w = shape
    depth = np.full((h, w), np.inf, np.float32)
    for a, b, ra, rb in _bones(_REFERENCE_LENGTH_M):
        ra, rb = ra / _REFERENCE_LENGTH_M * length_px, rb / _REFERENCE_LENGTH_M * length_px
        pa, pb = joints_px[a], joints_px[b]
        low = np.floor(np.minimum(pa[:2] - ra, pb[:2] - rb)).astype(int)
        high = np.ceil(np.maximum(pa[:2] + ra, pb[:2] + rb)).astype(int) + 1
        x0, y0, x1, y1 = max(low[0], 0), max(low[1], 0), min(high[0], w), min(high[1], h)
        if x0 >= x1 or y0 >= y1:
            continue
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        axis = pb[:2] - pa[:2]
        t = np.clip(((x - pa[0]) * axis[0] + (y - pa[1]) * axis[1]) / max(float(axis @ axis), 1e-6), 0.0, 1.0)
        r = ra + (rb - ra) * t
        off2 = (x - pa[0] - t * axis[0]) ** 2 + (y - pa[1] - t * axis[1]) ** 2
        z = pa[2] + (pb[2] - pa[2]) * t - np.sqrt(np.maximum(r * r - off2, 0.0))
        patch = depth[y0:y1, x0:x1]
        np.copyto(patch, np.minimum(patch, z), where=off2 <= r * r)
    depth[np.isinf(depth)] = np.nan
    return depth


def _cut(
    image: np.ndarray, surface: np.ndarray, joints: np.ndarray, length_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """GrabCut within the surface's surroundings: (hand mask, beyond-the-wrist region), both bool."""
    inside = np.isfinite(surface)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    thin, wide = max(1, round(0.015 * length_px)), max(2, round(0.05 * length_px))
    core = cv2.erode(inside.astype(np.uint8), kernel, iterations=thin) > 0
    near = cv2.dilate(inside.astype(np.uint8), kernel, iterations=wide) > 0
    wrist = joints[WRIST, :2]
    outward = wrist - joints[9, :2]
    outward = outward / max(float(np.linalg.norm(outward)), 1e-6)
    y, x = np.mgrid[: surface.shape[0], : surface.shape[1]].astype(np.float32)
    along = (x - wrist[0]) * outward[0] + (y - wrist[1]) * outward[1]
    across = np.abs((x - wrist[0]) * outward[1] - (y - wrist[1]) * outward[0])
    beyond = (along > 0.03 * length_px) & (across < 0.35 * length_px) & ~core
    trimap = np.full(surface.shape, cv2.GC_BGD, np.uint8)
    trimap[near] = cv2.GC_PR_BGD
    trimap[inside] = cv2.GC_PR_FGD
    trimap[beyond] = cv2.GC_PR_FGD
    trimap[core & (along < 0.0)] = cv2.GC_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image, trimap, (0, 0, 1, 1), *models, 3, cv2.GC_INIT_WITH_MASK)  # the box is not looked at
    cut = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return cut & near & ~(along > 0.03 * length_px), along > 0.03 * length_px


def label_hand(image: np.ndarray, px: np.ndarray, world: np.ndarray) -> PseudoLabel | None:
    """Labels of one hand; ``image`` uint8 (H, W, 3), ``px`` (21, 2) pixels, ``world`` (21, 3) metres. None: no usable fit."""
    scale = pixels_per_metre(px, world)
    length_m = hand_length(world)
    length_px = scale * length_m
    if not 12.0 < length_px < 4.0 * max(image.shape[:2]):
        return None
    pad = 0.35 * length_px
    x0, y0 = np.floor(px.min(0) - pad).astype(int)
    x1, y1 = np.ceil(px.max(0) + pad).astype(int)
    x0, y0, x1, y1 = (
        max(int(x0), 0),
        max(int(y0), 0),
        min(int(x1), image.shape[1]),
        min(int(y1), image.shape[0]),
    )
    if x1 - x0 < 16 or y1 - y0 < 16:
        return None
    window = np.ascontiguousarray(image[y0:y1, x0:x1])
    joints = np.column_stack((px - (x0, y0), world[:, 2] * scale)).astype(np.float32)
    surface = swept_surface(joints, length_px, window.shape[:2])
    inside = np.isfinite(surface)
    if inside.sum() < 60:
        return None
    cut, beyond = _cut(window, surface, joints, length_px)
    fair = ~beyond
    union = ((cut | inside) & fair).sum()
    agreement = float((cut & inside & fair).sum() / max(int(union), 1))
    mask = cut.astype(np.uint8)
    along_band = beyond & (
        cv2.dilate(cut.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=round(0.07 * length_px)) > 0
    )
    mask[along_band] = 255
    relief = np.where(inside & (mask == 1), surface / length_px, np.nan).astype(np.float32)
    if np.isfinite(relief).sum() < 40:
        return None
    reference = np.float32(np.nanmedian(relief))
    relief -= reference
    places = np.column_stack((px, joints[:, 2] / length_px - reference)).astype(np.float32)
    reprojection = np.abs(px - px.mean(0) - scale * (world[:, :2] - world[:, :2].mean(0))).mean() / length_px
    weight = float(np.clip((agreement - 0.55) / 0.25, 0, 1) * np.clip(1.5 - reprojection / 0.06, 0, 1))
    return PseudoLabel(x0, y0, mask, relief, float(np.log(length_px)), weight, places)
