"""A frame under construction: its image, and for every hand the pixels that can be seen of it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

MIN_BOX_PX = 12
"""A hand with fewer visible pixels has no box."""
_MIN_COVERAGE = 0.35
"""A pixel belongs to a hand if the hand covers this much of it."""
_MIN_SCALE_TO_INTERPOLATE = 0.7
_MAX_OVERLAP = 0.15
"""A hand is not laid over another if they share more than this fraction of the smaller one."""


@dataclasses.dataclass
class Scene:
    """A frame and its hands.

    Attributes:
        image: uint8 (h, w, 3) RGB.
        hands: For every hand the visible pixels, bool (h, w), in one part or several.
    """

    image: np.ndarray
    hands: list[np.ndarray]

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def cover(self, area: np.ndarray, texture: np.ndarray | int) -> None:
        """Lay something over ``area`` (h, w), which also hides the hands there."""
        self.image = np.where(area[..., None], texture, self.image).astype(np.uint8)
        self.hands = [hand & ~area for hand in self.hands]

    def place_behind(self, area: np.ndarray, texture: np.ndarray) -> None:
        """Lay something over ``area`` (h, w), unless it would cover a hand."""
        if not any((area & hand).any() for hand in self.hands):
            self.image = np.where(area[..., None], texture, self.image)

    def paste(self, rgba: np.ndarray, hand: np.ndarray, m: np.ndarray) -> bool:
        """Lay an image with a hand over the frame.

        Args:
            rgba: float32 (H, W, 4), premultiplied, 0..255.
            hand: The hand's pixels in that image (H, W).
            m: Similarity (2, 3) from that image to the frame.

        Returns:
            False if nothing was pasted because it would hide another hand.
        """
        placed = warp_mask(hand, m, self.size)
        for other in self.hands:
            if (placed & other).sum() > _MAX_OVERLAP * min(placed.sum(), other.sum()):
                return False
        rgba = warp_down(rgba, m, self.size)
        keep = 1 - rgba[..., 3:] / 255
        self.image = (rgba[..., :3] + self.image * keep).clip(0, 255).astype(np.uint8)
        free = (keep[..., 0] > 0.5) & ~placed
        self.hands = [*(other & free for other in self.hands), placed]
        return True

    def mirror(self) -> None:
        """Swap left and right."""
        self.image = self.image[:, ::-1]
        self.hands = [hand[:, ::-1] for hand in self.hands]


def centre_box(mask: np.ndarray) -> np.ndarray | None:
    """Return the box of all pixels of a mask, or None if there are too few.

    Returns:
        float32 (4,) x and y of the centre, width and height in pixels.
    """
    ys, xs = np.nonzero(mask)
    return _box_around(xs, ys) if len(xs) >= MIN_BOX_PX else None


def speck_box(mask: np.ndarray) -> np.ndarray | None:
    """Return the same box for any number of pixels but none."""
    ys, xs = np.nonzero(mask)
    return _box_around(xs, ys) if len(xs) else None


def similarity_2x3(k: float, angle: float, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the (2, 3) transform that scales by ``k``, rotates, takes source to target."""
    turn = k * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack((turn, target - turn @ source))


def warp_down(image: np.ndarray, m: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp an image to ``size`` (width, height), with a blur before it that suits the shrinking."""
    k = float(np.sqrt(abs(np.linalg.det(m[:, :2]))))
    if k < _MIN_SCALE_TO_INTERPOLATE:
        image = cv2.blur(image, (max(1, round(1 / k)),) * 2)
    return cv2.warpAffine(image, m, size, flags=cv2.INTER_LINEAR)


def warp_mask(mask: np.ndarray, m: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp a mask (H, W) to bool (h, w)."""
    return warp_down((mask > 0).astype(np.float32), m, size) > _MIN_COVERAGE


def _box_around(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return np.array([(x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5, x1 - x0, y1 - y0], np.float32)
