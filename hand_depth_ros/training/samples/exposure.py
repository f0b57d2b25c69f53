"""Hard light and motion: burnt-out, nearly black and unevenly lit frames, and motion blur."""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator
_BURNT_PROB, _DARK_PROB = 0.40, 0.35
_BURNT_GAIN, _DARK_GAIN, _LAMP_GAIN = (1.3, 3.2), (0.12, 0.55), (0.25, 3.5)
_CAST_STD = 0.16
_GAMMA_STD = 0.2
_MAX_NOISE = 0.02
_LIFT_PROB, _MAX_LIFT = 0.4, 3.0


def expose(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Overexpose, underexpose or unevenly light an image.

    Highlights clip to white or to a colour cast; shadows lose their bits to noise, which the
    camera's gain then lifts. Values are scaled as they are, without linearising them first.

    Args:
        image: uint8 (h, w, 3) RGB.
        rng: Random generator.
    """
    h, w = image.shape[:2]
    dice = rng.random()
    gain: np.ndarray | np.float32
    if dice < _BURNT_PROB:
        gain = _log_uniform(_BURNT_GAIN, rng)
    elif dice < _BURNT_PROB + _DARK_PROB:
        gain = _log_uniform(_DARK_GAIN, rng)
    else:  # a lamp or a window
        low, high = np.log(_LAMP_GAIN)
        field = rng.uniform(low, high, (3, 4)).astype(np.float32)
        gain = np.exp(cv2.resize(field, (w, h), interpolation=cv2.INTER_CUBIC))[..., None]
    cast = np.exp(rng.normal(0, _CAST_STD, 3)).astype(np.float32)
    x = (image.astype(np.float32) / 255) ** np.float32(np.exp(rng.normal(0, _GAMMA_STD))) * gain * cast
    x += np.float32(rng.uniform(0, _MAX_NOISE)) * rng.standard_normal(x.shape, np.float32)
    if dice >= _BURNT_PROB and rng.random() < _LIFT_PROB:
        x *= np.float32(rng.uniform(1.0, _MAX_LIFT))
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def motion_blur(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Blur an image along a line.

    Args:
        image: uint8 (h, w, 3).
        length: Length of the line in pixels.
        angle: Its direction in radians.
    """
    size = max(3, round(length)) | 1
    kernel = np.zeros((size, size), np.float32)
    c = (size - 1) / 2
    dx, dy = c * np.cos(angle), c * np.sin(angle)
    cv2.line(kernel, (round(c - dx), round(c - dy)), (round(c + dx), round(c + dy)), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _log_uniform(bounds: tuple[float, float], rng: Rng) -> np.float32:
    low, high = np.log(bounds)
    return np.float32(np.exp(rng.uniform(low, high)))
