"""Bit depth of images in 16-bit pixels: sensors of 10, 12 or 14 bits do not fill them.

Read as 16 bits such an image is 64, 16 or 4 times too dark, and hands are missed or placed wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hand_depth_ros.errors import ImageError

CONTAINER_BITS = 16
SENSOR_BITS = (10, 12, 14)
"""Bit depths that are inferred from the data; what exceeds them has 16 bits."""
_MIN_CONTRAST = 1 / 8
"""Contrast, as a fraction of the bit depth's range, without which an image proves nothing."""
_TRIAL_IMAGES, _CONFIRMATIONS = 30, 3
"""A rise lasts if so many of that many images need it, the first one included."""
_SAMPLES_PER_SIDE = 160
"""Contrast is measured on at most so many pixels along each side."""
_OUTLIERS_PER_PIXEL = 1e-5
"""Fraction of the pixels that may exceed the bit depth: transmission errors."""


class BitDepth:
    """The bit depth of one camera's images, inferred from the data.

    Once it is known it does not follow the light: it only rises, and the rise lasts if several of
    the next images need it. A single corrupt image changes it for a second.

    An image without contrast (a lens cap) proves nothing: until the first one with contrast, pixels
    are read with all 16 bits.

    Attributes:
        bits: The bit depth; None: not known yet.
    """

    def __init__(self, given: int = 0) -> None:
        """Take the bit depth that the user gave; 0: infer it from the data."""
        self._given = given
        self.bits: int | None = given or None
        self._rise: _Rise | None = None

    def update(self, pixels: np.ndarray) -> int:
        """Return the bit depth with which to read an image, uint16 (H, W) or (H, W, C).

        Raises:
            ImageError: The image exceeds the bit depth that was given.
        """
        if self._given:
            if _exceeds(pixels, self._given):
                raise ImageError(
                    f"bit_depth is {self._given}, but the image has values up to {pixels.max()}: "
                    "set bit_depth to 0 (automatic)"
                )
        elif self.bits is None:
            self.bits = _measure(pixels)
        else:
            self._follow(pixels, self.bits)
        return self.bits or CONTAINER_BITS

    def _follow(self, pixels: np.ndarray, bits: int) -> None:
        """Raise the bit depth if the image needs it; lower it again if the next ones do not."""
        measured = _measure(pixels) if _exceeds(pixels, bits) else None
        if measured is not None:
            self._rise = self._rise or _Rise(bits)
            self.bits = measured
        if self._rise is None:
            return
        self._rise.images += 1
        self._rise.exceeding += _exceeds(pixels, self._rise.before)
        if self._rise.exceeding >= _CONFIRMATIONS:
            self._rise = None
        elif self._rise.images >= _TRIAL_IMAGES:
            self.bits, self._rise = self._rise.before, None


@dataclass
class _Rise:
    """A rise on trial: the bit depth before it, and the images since and beyond that."""

    before: int
    images: int = 0
    exceeding: int = 0


def scale_to_8_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale uint16 pixels of this bit depth to uint8, rounded; what exceeds it saturates."""
    return cv2.convertScaleAbs(pixels, alpha=255.0 / (2**bits - 1))


def _measure(pixels: np.ndarray) -> int | None:
    """Return the smallest bit depth that holds the image, None if it has too little contrast."""
    bits = next((bits for bits in SENSOR_BITS if not _exceeds(pixels, bits)), CONTAINER_BITS)
    step = -(-max(pixels.shape[:2]) // _SAMPLES_PER_SIDE)
    low, high = np.percentile(pixels[::step, ::step], (0.1, 99.9))
    return bits if high - low >= _MIN_CONTRAST * 2**bits else None


def _exceeds(pixels: np.ndarray, bits: int) -> bool:
    if bits == CONTAINER_BITS:
        return False
    return int(np.count_nonzero(pixels >= 1 << bits)) > _OUTLIERS_PER_PIXEL * pixels.size
