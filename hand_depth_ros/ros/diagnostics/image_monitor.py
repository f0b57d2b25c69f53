"""Watch a camera's images for what makes depth impossible although every message is valid.

No rclpy here: a covered lens, an image of one colour, a camera that repeats one image.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import numpy as np

SAMPLES_PER_SIDE = 160
"""At most so many pixels are sampled along each side of an image."""
DARK_LEVEL = 16
"""Value of 255 that nearly all samples of a dark image stay below."""
BRIGHT_FRACTION = 0.01
"""Largest fraction of brighter samples in a dark image: hot pixels, indicator lamps."""
CONSTANT_RANGE = 2
"""Largest range of grey levels of an image of one colour: more is noise or structure."""
FROZEN_S = 5.0
"""An image that repeats for so long, in seconds, is no scene at rest: cameras have noise."""
FROZEN_COUNT = 10
"""Fewest repetitions that count as frozen: slow cameras are judged later."""


class ImageMonitor:
    """Problems of the latest images of one camera.

    Attributes:
        problem: A sentence that says what is wrong and what to do, or "".
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._digest: int | None = None
        self._since = clock()
        self._count = 0
        self.problem = ""

    def update(self, rgb: np.ndarray, damage: str = "") -> str:
        """Look at one image, (H, W, 3) uint8, and return `problem`.

        Args:
            rgb: The decoded image.
            damage: What its data shows to be wrong; see `ImageDecoder.damage`.
        """
        step = -(-max(rgb.shape[:2]) // SAMPLES_PER_SIDE)
        samples = np.ascontiguousarray(rgb[::step, ::step])
        frozen_s = self._repeated_s(samples)
        self.problem = damage or describe_image(samples)
        if not self.problem and frozen_s >= FROZEN_S and self._count >= FROZEN_COUNT:
            self.problem = (
                f"the image has not changed for {frozen_s:.0f} s although new ones arrive: "
                "restart the camera or its driver if it is frozen"
            )
        return self.problem

    def clear(self) -> None:
        """Forget everything: the camera is another one."""
        self._digest, self._count, self.problem = None, 0, ""

    def _repeated_s(self, samples: np.ndarray) -> float:
        """Return the seconds for which all images have been the same."""
        now, digest = self._clock(), zlib.crc32(samples.data)
        if digest != self._digest:
            self._digest, self._since, self._count = digest, now, 0
        self._count += 1
        return now - self._since


def describe_image(rgb: np.ndarray) -> str:
    """Return why an image (H, W, 3) uint8 shows nothing, or ""."""
    if np.count_nonzero(rgb >= DARK_LEVEL) <= BRIGHT_FRACTION * rgb.size:
        return "the image is dark: remove the lens cap, switch on a light, or raise the exposure"
    if (np.ptp(rgb.reshape(-1, 3), axis=0) > CONSTANT_RANGE).any():
        return ""
    return "the image has one colour all over: check the camera's exposure, lens and driver"
