"""Pseudo labels from hand landmarks: a sphere-swept skeleton and a mask by GrabCut.

A listing gives 21 joints per hand, in pixels and as metres in camera-aligned axes with an arbitrary
origin. Under a scaled orthographic camera these give a surface (each bone a cone with spherical
ends), hence relief in hand lengths. GrabCut (Rother et al. 2004), seeded by that surface, gives a
mask that follows the image. The label's weight says how well surface and mask agree.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from hand_depth_ros.geometry.hand import FINGERS, WRIST, hand_length
from hand_depth_ros.training.data.photographs import UNKNOWN, PseudoLabel

VERSION = 5
"""Raise when labels change, so that caches are recomputed."""

_REFERENCE_LENGTH_M = 0.18
_THUMB_RADII_M = (0.0150, 0.0120, 0.0100, 0.0080)
"""CMC to tip, for a hand of the reference length."""
_FINGER_RADII_M = (0.0110, 0.0090, 0.0080, 0.0068)
"""MCP to tip, for a hand of the reference length."""
_LITTLE_FINGER_SCALE = 0.85
_PALM_RADIUS_M = 0.0135
_MIN_LENGTH_PX = 12.0
_MAX_LENGTH_SIDES = 4.0
"""Apparent length over the longer side of the photograph, at most."""
_MIN_WINDOW_PX = 16
_MIN_SURFACE_PX, _MIN_RELIEF_PX = 60, 40
_WINDOW_PAD = 0.35
"""Margin around the joints, hand lengths."""
_WRIST_BEYOND = 0.03
"""The arm begins so far beyond the wrist joint, hand lengths."""
_UNKNOWN_BAND = 0.07
"""Width of the unknown band where hand meets arm, hand lengths."""
_GRABCUT_ITERATIONS = 3


class _Cut(NamedTuple):
    """Result of GrabCut, bool (h, w) each.

    Attributes:
        hand: Pixels of the hand, up to the wrist.
        arm_side: Pixels beyond the wrist, of the arm or not.
    """

    hand: np.ndarray
    arm_side: np.ndarray


def pixels_per_metre(px: np.ndarray, world: np.ndarray) -> float:
    """Return the least-squares scale of the orthographic camera that maps (21, 3) to (21, 2)."""
    a, b = px - px.mean(0), world[:, :2] - world[:, :2].mean(0)
    return float((a * b).sum() / max(float((b * b).sum()), 1e-9))


def swept_surface(joints_px: np.ndarray, length_px: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the depth of the sphere-swept hand's nearest surface, (h, w) px, NaN off it.

    Args:
        joints_px: (21, 3): x, y in pixels, z in the same unit, positive away from the camera.
        length_px: The hand length in pixels.
        shape: Height and width in pixels.
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


def label_hand(image: np.ndarray, px: np.ndarray, world: np.ndarray) -> PseudoLabel | None:
    """Label one hand of an image, or return None if its landmarks cannot be used.

    Args:
        image: uint8 (H, W, 3) RGB.
        px: Landmarks (21, 2) in pixels.
        world: Landmarks (21, 3) in metres, camera-aligned axes, any origin.
    """
    scale = pixels_per_metre(px, world)
    length_px = scale * hand_length(world)
    if not _MIN_LENGTH_PX < length_px < _MAX_LENGTH_SIDES * max(image.shape[:2]):
        return None
    x0, y0, x1, y1 = _window(px, length_px, image.shape[1], image.shape[0])
    if x1 - x0 < _MIN_WINDOW_PX or y1 - y0 < _MIN_WINDOW_PX:
        return None
    window = np.ascontiguousarray(image[y0:y1, x0:x1])
    joints = np.column_stack((px - (x0, y0), world[:, 2] * scale)).astype(np.float32)
    surface = swept_surface(joints, length_px, window.shape[:2])
    inside = np.isfinite(surface)
    if inside.sum() < _MIN_SURFACE_PX:
        return None
    cut = _grab_cut(window, surface, joints, length_px)
    mask = cut.hand.astype(np.uint8)
    band = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=round(_UNKNOWN_BAND * length_px)) > 0
    mask[cut.arm_side & band] = UNKNOWN
    relief = np.where(inside & (mask == 1), surface / length_px, np.nan).astype(np.float32)
    if np.isfinite(relief).sum() < _MIN_RELIEF_PX:
        return None
    reference = np.float32(np.nanmedian(relief))
    relief -= reference
    in_image = np.column_stack((px, joints[:, 2] / length_px - reference)).astype(np.float32)
    error = np.abs(px - px.mean(0) - scale * (world[:, :2] - world[:, :2].mean(0))).mean() / length_px
    weight = _weight(_agreement(cut, inside), float(error))
    return PseudoLabel(x0, y0, mask, relief, float(np.log(length_px)), weight, in_image)


def _bones(length_m: float) -> list[tuple[int, int, float, float]]:
    """Return the bones of a hand as (joint, joint, radius, radius), metres."""
    k = length_m / _REFERENCE_LENGTH_M
    bones = []
    for number, finger in enumerate(FINGERS):
        thickness = _LITTLE_FINGER_SCALE if number == 4 else 1.0
        radii = _THUMB_RADII_M if number == 0 else tuple(r * thickness for r in _FINGER_RADII_M)
        bones += [
            (a, b, ra, rb)
            for a, b, ra, rb in zip(finger[:-1], finger[1:], radii[:-1], radii[1:], strict=True)
        ]
    palm = _PALM_RADIUS_M
    bones += [(WRIST, j, palm * 1.1, palm) for j in (1, 5, 9, 13, 17)]
    bones += [
        (1, 5, 0.012, 0.011),
        (5, 9, palm, palm),
        (9, 13, palm, palm),
        (13, 17, palm, palm),
        (2, 5, 0.006, 0.010),
    ]
    return [(a, b, ra * k, rb * k) for a, b, ra, rb in bones]


def _window(px: np.ndarray, length_px: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the hand's surroundings, clipped to the image."""
    pad = _WINDOW_PAD * length_px
    x0, y0 = np.floor(px.min(0) - pad).astype(int)
    x1, y1 = np.ceil(px.max(0) + pad).astype(int)
    return max(int(x0), 0), max(int(y0), 0), min(int(x1), width), min(int(y1), height)


def _grab_cut(window: np.ndarray, surface: np.ndarray, joints: np.ndarray, length_px: float) -> _Cut:
    """Segment the hand with GrabCut in the surroundings of its surface."""
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
    arm_side = along > _WRIST_BEYOND * length_px
    arm = arm_side & (across < 0.35 * length_px) & ~core
    trimap = np.full(surface.shape, cv2.GC_BGD, np.uint8)
    trimap[near] = cv2.GC_PR_BGD
    trimap[inside] = cv2.GC_PR_FGD
    trimap[arm] = cv2.GC_PR_FGD
    trimap[core & (along < 0.0)] = cv2.GC_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    no_box = (0, 0, 1, 1)  # ignored: the trimap initialises the cut
    cv2.grabCut(window, trimap, no_box, *models, _GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
    foreground = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return _Cut(foreground & near & ~arm_side, arm_side)


def _agreement(cut: _Cut, inside: np.ndarray) -> float:
    """Return the IoU of mask and surface on the hand's side of the wrist."""
    fair = ~cut.arm_side
    union = ((cut.hand | inside) & fair).sum()
    return float((cut.hand & inside & fair).sum() / max(int(union), 1))


def _weight(agreement: float, reprojection_error: float) -> float:
    """Return the weight 0..1 from the agreement and the reprojection error in hand lengths."""
    return float(np.clip((agreement - 0.55) / 0.25, 0, 1) * np.clip(1.5 - reprojection_error / 0.06, 0, 1))
