"""A picture to look at: the colour image with the hands' depth laid over it, their boxes and distances.

Used by the node's debug/image and by `hand-depth infer --overlay`. Knows nothing of ROS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthFrame

OPACITY = 0.6
RELIEF_M = 0.12
"""Depth span that the colours cover around each hand's median: near is warm, far is cold."""


def overlay(rgb: np.ndarray, frame: HandDepthFrame) -> np.ndarray:
    """Draw a result over its image.

    Args:
        rgb: (H, W, 3) uint8.
        frame: The estimate for it.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    picture = np.array(rgb, dtype=np.uint8, order="C")
    size = max(rgb.shape[0], rgb.shape[1]) / 640.0
    thickness = max(1, round(2 * size))
    for hand in frame.hands:
        tint(picture, frame.depth, (frame.mask == hand.id) & np.isfinite(frame.depth), hand.depth_m)
    for hand in frame.hands:
        x, y, w, h = (round(float(v)) for v in hand.roi)
        cv2.rectangle(picture, (x, y), (x + w, y + h), (255, 255, 255), thickness)
        text = f"{hand.id}: {hand.depth_m:.2f} m" if np.isfinite(hand.depth_m) else f"{hand.id}: no depth"
        _label(picture, text, (x, y - round(6 * size)), 0.5 * size, thickness)
    return picture


def tint(picture: np.ndarray, depth: np.ndarray, pixels: np.ndarray, centre_m: float) -> None:
    """Blend turbo colours of `depth` (H, W, metres) around `centre_m` into `picture` (H, W, 3) where `pixels`
    (H, W) is true."""
    if not pixels.any():
        return
    nearness = 0.5 - (depth[pixels] - centre_m) / RELIEF_M
    level = (np.clip(nearness, 0.0, 1.0) * 255.0).astype(np.uint8)
    colours = cv2.applyColorMap(level[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    picture[pixels] = (OPACITY * colours + (1.0 - OPACITY) * picture[pixels]).astype(np.uint8)


def _label(picture: np.ndarray, text: str, corner: tuple[int, int], scale: float, thickness: int) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = int(np.clip(corner[0], 0, max(0, picture.shape[1] - width)))
    y = int(np.clip(corner[1], height, max(height, picture.shape[0] - 2)))
    for colour, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):
        cv2.putText(
            picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness + extra, cv2.LINE_AA
        )
