"""What cameras and rooms do to a picture: light, white balance, blur, noise, JPEG, grey, occluders. uint8 RGB in and out."""

from __future__ import annotations

import functools

import cv2
import numpy as np

Rng = np.random.Generator
_STORED = 1 << 21
_USUAL_SIDE = 128  # blurs are in pixels of a picture of this size; a finer one of the same is blurred as much


@functools.cache
def _store() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(_STORED, np.float32)


def _noise(count: int, rng: Rng) -> np.ndarray:
    """Standard normal numbers (count,), a random part of a store: drawing them anew takes longer than all the rest."""
    store = _store()
    if count > len(store) // 2:
        return rng.standard_normal(count, np.float32)
    start = int(rng.integers(len(store) - count))
    return store[start : start + count]


def tone(image: np.ndarray, rng: Rng, strength: float = 1.0) -> np.ndarray:
    """Exposure, white balance, contrast and gamma through one look-up table a channel."""
    x = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    gamma = np.exp(rng.normal(0, 0.25 * strength))
    gain = np.exp(rng.normal(0, 0.22 * strength))
    contrast = np.exp(rng.normal(0, 0.18 * strength))
    balance = np.exp(rng.normal(0, 0.10 * strength, 3))
    tables = [np.clip(((gain * b * x**gamma) - 0.45) * contrast + 0.45, 0, 1) * 255 for b in balance]
    return cv2.LUT(image, np.stack(tables, 1).astype(np.uint8)[None])


def camera(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Defocus or motion blur, low resolution, sensor noise, JPEG, grey, each now and then."""
    side = image.shape[0]
    fine = max(1.0, side / _USUAL_SIDE)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), fine * float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.12:
        length = round(fine * int(rng.integers(3, 9)))
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
    """A wall: one colour with a soft gradient, uint8 (h, w, 3)."""
    h, w = size
    corners = rng.uniform(0, 255, 3) * np.ones((2, 2, 3)) + rng.normal(0, 18, (2, 2, 1))
    if rng.random() < 0.5:
        corners = (
            rng.uniform(60, 255)
            + rng.normal(0, 6, (1, 1, 3))
            + rng.normal(0, 18, (2, 2, 1)) * np.ones((1, 1, 3))
        )
    return np.clip(cv2.resize(corners.astype(np.float32), (w, h)), 0, 255).astype(np.uint8)


def occlude(image: np.ndarray, backgrounds: list[np.ndarray], rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Lay a polygon of some other picture over the middle part of this one; gives the picture and where (uint8, 1) that is."""
    side = image.shape[0]
    centre = rng.uniform(0.15 * side, 0.85 * side, 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    reach = side * rng.uniform(0.04, 0.24)
    points = centre + reach * rng.uniform(0.5, 1.3, (len(angles), 1)) * np.column_stack(
        (np.cos(angles), np.sin(angles))
    )
    area = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(area, [points.astype(np.int32)], 1)
    texture = background_crop(backgrounds, (side, side), rng)
    return np.where(area[..., None] > 0, texture, image), area


def background_crop(backgrounds: list[np.ndarray], size: tuple[int, int], rng: Rng) -> np.ndarray:
    """A random, randomly scaled and mirrored part of a random background, uint8 (h, w, 3); a plain wall when there is none."""
    h, w = size
    if not backgrounds or rng.random() < 0.15:
        return plain_background(size, rng)
    picture = backgrounds[int(rng.integers(len(backgrounds)))]
    ph, pw = picture.shape[:2]
    share = rng.uniform(0.35, 1.0)
    cw = min(pw, ph * w / h) * share
    ch = cw * h / w
    x, y = rng.uniform(0, pw - cw), rng.uniform(0, ph - ch)
    part = picture[int(y) : int(y + ch) + 1, int(x) : int(x + cw) + 1]
    part = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA if cw > w else cv2.INTER_LINEAR)
    return part[:, ::-1] if rng.random() < 0.5 else part
