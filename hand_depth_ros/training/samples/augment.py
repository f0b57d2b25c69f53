"""Augmentation: light, white balance, blur, noise, JPEG, occluders. uint8 RGB in and out."""

from __future__ import annotations

import functools

import cv2
import numpy as np

Rng = np.random.Generator
_NOISE_STORE = 1 << 21
_REFERENCE_SIDE = 128
"""Blurs are in pixels of an image of this side; larger images are blurred in proportion."""


@functools.cache
def _noise_store() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(_NOISE_STORE, np.float32)


def _noise(count: int, rng: Rng) -> np.ndarray:
    """Return standard normal numbers (count,), a random part of a store (drawing is slow)."""
    store = _noise_store()
    if count > len(store) // 2:
        return rng.standard_normal(count, np.float32)
    start = int(rng.integers(len(store) - count))
    return store[start : start + count]


def tone(image: np.ndarray, rng: Rng, strength: float = 1.0) -> np.ndarray:
    """Vary exposure, white balance, contrast and gamma, by one look-up table per channel."""
    x = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    gamma = np.exp(rng.normal(0, 0.25 * strength))
    gain = np.exp(rng.normal(0, 0.22 * strength))
    contrast = np.exp(rng.normal(0, 0.18 * strength))
    balance = np.exp(rng.normal(0, 0.10 * strength, 3))
    tables = [np.clip(((gain * b * x**gamma) - 0.45) * contrast + 0.45, 0, 1) * 255 for b in balance]
    return cv2.LUT(image, np.stack(tables, 1).astype(np.uint8)[None])


def degrade(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Apply, each with its own probability: blur, low resolution, noise, JPEG and greyscale."""
    side = image.shape[0]
    scale = max(1.0, side / _REFERENCE_SIDE)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), scale * float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.12:
        length = round(scale * int(rng.integers(3, 9)))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if rng.random() < 0.2:
        small = max(24, int(side * rng.uniform(0.3, 0.8)))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (side, side))
    if rng.random() < 0.4:
        sigma = float(rng.uniform(1, 10))
        noise = np.float32(sigma) * _noise(image.size, rng).reshape(image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else None
        image = image if decoded is None else decoded
    if rng.random() < 0.06:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image


def plain_background(size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Return a wall of one colour with a soft gradient, uint8 (h, w, 3)."""
    h, w = size
    corners = rng.uniform(0, 255, 3) * np.ones((2, 2, 3)) + rng.normal(0, 18, (2, 2, 1))
    if rng.random() < 0.5:
        corners = (
            rng.uniform(60, 255)
            + rng.normal(0, 6, (1, 1, 3))
            + rng.normal(0, 18, (2, 2, 1)) * np.ones((1, 1, 3))
        )
    return np.clip(cv2.resize(corners.astype(np.float32), (w, h)), 0, 255).astype(np.uint8)


def background_crop(backgrounds: list[np.ndarray], size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Return a random crop of a random background, scaled and mirrored, or a plain wall.

    Args:
        backgrounds: uint8 (H, W, 3) each; without any the wall is certain.
        size: Height and width of the crop.
        rng: Random generator.
    """
    h, w = size
    if not backgrounds or rng.random() < 0.15:
        return plain_background(size, rng)
    image = backgrounds[int(rng.integers(len(backgrounds)))]
    image_h, image_w = image.shape[:2]
    fraction = rng.uniform(0.35, 1.0)
    crop_w = min(image_w, image_h * w / h) * fraction
    crop_h = crop_w * h / w
    x, y = rng.uniform(0, image_w - crop_w), rng.uniform(0, image_h - crop_h)
    crop = image[int(y) : int(y + crop_h) + 1, int(x) : int(x + crop_w) + 1]
    crop = cv2.resize(crop, (w, h), interpolation=cv2.INTER_AREA if crop_w > w else cv2.INTER_LINEAR)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def occlude(image: np.ndarray, backgrounds: list[np.ndarray], rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Lay a polygon of some background over the middle part of a square image.

    Returns:
        The image, and the polygon's area as uint8 (h, w), 1 inside.
    """
    side = image.shape[0]
    centre = rng.uniform(0.15 * side, 0.85 * side, 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    radius = side * rng.uniform(0.04, 0.24)
    points = centre + radius * rng.uniform(0.5, 1.3, (len(angles), 1)) * np.column_stack(
        (np.cos(angles), np.sin(angles))
    )
    area = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(area, [points.astype(np.int32)], 1)
    texture = background_crop(backgrounds, (side, side), rng)
    return np.where(area[..., None] > 0, texture, image), area
