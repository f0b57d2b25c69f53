"""Draw depth, boxes and distances of the hands over the colour image.

The node's debug/image and `hand-depth infer --overlay` show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from hand_depth_ros.estimation.result import HandDepthFrame

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
    image = np.array(rgb, dtype=np.uint8, order="C")
    size = max(rgb.shape[0], rgb.shape[1]) / 640.0
    thickness = max(1, round(2 * size))
    for hand in frame.hands:
        tint(image, frame.depth, (frame.mask == hand.id) & np.isfinite(frame.depth), hand.depth_m)
    for hand in frame.hands:
        x, y, w, h = (round(float(v)) for v in hand.roi)
        cv2.rectangle(image, (x, y), (x + w, y + h), (255, 255, 255), thickness)
        text = f"{hand.id}: {hand.depth_m:.2f} m" if np.isfinite(hand.depth_m) else f"{hand.id}: no depth"
        _label(image, text, (x, y - round(6 * size)), 0.5 * size, thickness)
    return image


def tint(image: np.ndarray, depth: np.ndarray, pixels: np.ndarray, centre_m: float) -> None:
    """Blend turbo colours of a depth map into an image, in place.

    Args:
        image: uint8 (H, W, 3).
        depth: (H, W), metres.
        pixels: bool (H, W), where to blend.
        centre_m: Depth in the middle of the colour scale, metres.
    """
    if not pixels.any():
        return
    nearness = 0.5 - (depth[pixels] - centre_m) / RELIEF_M
    level = (np.clip(nearness, 0.0, 1.0) * 255.0).astype(np.uint8)
    colours = cv2.applyColorMap(level[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    image[pixels] = (OPACITY * colours + (1.0 - OPACITY) * image[pixels]).astype(np.uint8)


def _label(image: np.ndarray, text: str, corner: tuple[int, int], scale: float, thickness: int) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = int(np.clip(corner[0], 0, max(0, image.shape[1] - width)))
    y = int(np.clip(corner[1], height, max(height, image.shape[0] - 2)))
    for colour, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):
        cv2.putText(
            image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness + extra, cv2.LINE_AA
        )
