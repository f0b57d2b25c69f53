"""Things in front of and behind hands: bars, boxes and blobs with the texture of a background."""

from __future__ import annotations

import cv2
import numpy as np

from hand_depth_ros.training.samples import augment

Rng = np.random.Generator
_BAR_PROB, _BOX_PROB = 0.5, 0.25
_BLOB_CORNERS = 16
_PLAIN_PROB = 0.4


def occluder_mask(size: tuple[int, int], centre: np.ndarray, extent: float, rng: Rng) -> np.ndarray:
    """Draw the outline of something near a hand: a bar across it, a box, or a blob.

    Args:
        size: Height and width of the frame.
        centre: (2,) x, y of the middle of the hand.
        extent: Longer side of the hand in pixels.
        rng: Random generator.

    Returns:
        bool (h, w), True inside.
    """
    angle = rng.uniform(0, np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = centre + rng.uniform(-0.4, 0.4, 2) * extent
    dice = rng.random()
    if dice < _BAR_PROB:
        half = extent * rng.uniform(0.04, 0.18) * across
        start = middle - along * extent * rng.uniform(0.6, 3.0)
        end = middle + along * extent * rng.uniform(0.6, 3.0)
        points = np.array([start - half, end - half, end + half, start + half])
    elif dice < _BAR_PROB + _BOX_PROB:
        a, b = extent * rng.uniform(0.12, 0.45, 2)
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        points = np.array([middle + i * a * along + j * b * across for i, j in signs])
    else:
        angles = np.linspace(0, 2 * np.pi, _BLOB_CORNERS, endpoint=False)
        radius = extent * rng.uniform(0.12, 0.35) * np.exp(rng.normal(0, 0.12, _BLOB_CORNERS))
        circle = np.column_stack((np.cos(angles), rng.uniform(0.5, 1.2) * np.sin(angles)))
        points = middle + radius[:, None] * circle
    area = np.zeros(size, np.uint8)
    cv2.fillPoly(area, [points.round().astype(np.int32)], 1)
    return area > 0


def occluder_texture(backgrounds: list[np.ndarray], size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Draw an image (h, w, 3) that an occluder shows: a part of a background, or a plain colour."""
    texture = augment.tone(augment.background_crop(backgrounds, size, rng), rng)
    return augment.plain_background(size, rng) if rng.random() < _PLAIN_PROB else texture
