"""Messages without ROS: the fields of sensor_msgs as plain objects, and images in each encoding."""

from __future__ import annotations

import itertools
from functools import cache
from types import SimpleNamespace

import numpy as np


@cache
def sample_rgb(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    """Return a smooth colour image with structure, (H, W, 3) uint8, read-only."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(0.2, 1.0, (3, 3))]
    rgb = np.clip(127 + 100 * np.stack(waves, -1), 0, 255).astype(np.uint8)
    rgb.flags.writeable = False  # every caller gets the same one
    return rgb


_SHOTS = itertools.count()


def live(rgb: np.ndarray) -> np.ndarray:
    """Return a copy that differs from the last by one level in one pixel: cameras have noise."""
    rgb = rgb.copy()
    rgb[-1, -1, -1] ^= next(_SHOTS) % 2
    return rgb


def image(pixels: np.ndarray, encoding: str, pad: int = 0, is_bigendian: int = 0) -> SimpleNamespace:
    """Return an Image of `pixels` (H, W) or (H, W, C), each row followed by `pad` junk bytes."""
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.full((rows.shape[0], rows.shape[1] + pad), 0xAB, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=padded.shape[1],
        data=padded.reshape(-1),
    )


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Return what a sensor behind a colour filter sees; pattern rggb: first row r g, second g b."""
    raw = np.empty(rgb.shape[:2], rgb.dtype)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, "rgb".index(colour)]
    return raw


def yuv_pixels(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the BT.601 studio-range Y, U, V of `rgb` as float64 (H, W)."""
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return y, u, v


def yuyv(rgb: np.ndarray, uyvy: bool = False) -> np.ndarray:
    """Pack as 4:2:2, (H, W, 2) uint8."""
    y, u, v = (np.rint(plane).clip(0, 255).astype(np.uint8) for plane in yuv_pixels(rgb))
    chroma = np.where(np.arange(rgb.shape[1]) % 2 == 0, u, np.roll(v, 1, axis=1))
    return np.stack((chroma, y) if uyvy else (y, chroma), -1)


def semi_planar(rgb: np.ndarray, vu: bool) -> np.ndarray:
    """Pack as nv12, or nv21 with `vu`: (3 H / 2, W) uint8.

    All rows of Y come first, then interleaved chroma at half the size.
    """
    y, u, v = (np.rint(plane).clip(0, 255).astype(np.uint8) for plane in yuv_pixels(rgb))
    pair = (v, u) if vu else (u, v)
    chroma = np.stack([plane[::2, ::2] for plane in pair], -1).reshape(rgb.shape[0] // 2, rgb.shape[1])
    return np.concatenate((y, chroma))


def camera_info(width: int = 32, height: int = 24, f: float = 30.0, **fields: object) -> SimpleNamespace:
    """Return a CameraInfo of a pinhole camera; `fields` replace its fields."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info = {
        "height": height,
        "width": width,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }
    return SimpleNamespace(**{**info, **fields})
