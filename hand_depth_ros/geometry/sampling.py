"""Pixel grids and resampling that the crop camera is built from. numpy and torch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F


def quantize(low: int, high: int, step: int, limit: int) -> tuple[int, int]:
    """Lengthen low..high, within 0..limit, until ``step`` divides it, if possible."""
    high = min(high + (low - high) % step, limit)
    longer = low - (low - high) % step
    return (longer, high) if longer >= 0 else (low, high)


def average_pool(image: torch.Tensor, k: int) -> torch.Tensor:
    """Average k x k pixels: (C, H, W) to (C, ceil(H / k), ceil(W / k)).

    The border is repeated to fill up.

    Sums of strided views are three times as fast on a CPU as avg_pool2d on a frame whose channels
    are innermost.
    """
    below, right = -image.shape[1] % k, -image.shape[2] % k
    if below or right:
        image = F.pad(image[None], (0, right, 0, below), "replicate")[0]
    rows = sum((image[:, i::k] for i in range(1, k)), image[:, 0::k])
    return sum((rows[:, :, i::k] for i in range(1, k)), rows[:, :, 0::k]) / (k * k)


def pixel_planes(
    matrix: np.ndarray, columns: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return matrix @ (column, row, 1) for every pixel of a grid: three tensors (rows, columns)."""
    a, b, c = ((m[0] * columns)[None, :] + (m[1] * rows + m[2])[:, None] for m in matrix.tolist())
    return a, b, c


@lru_cache(maxsize=8)
def square_rays(f: float, size: int, device: str) -> torch.Tensor:
    """Return the rays (size, size, 3), z = 1, of a square camera with a centred principal point."""
    steps = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / f
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), -1).float().to(device)


@lru_cache(maxsize=16)
def _range_to(limit: int, device: str) -> torch.Tensor:
    return torch.arange(limit, dtype=torch.float32, device=device)


def pixel_range(count: int, device: torch.device) -> torch.Tensor:
    """Return 0, 1, ..., count - 1 as float32, cached by powers of two."""
    return _range_to(1 << max(count - 1, 1).bit_length(), str(device))[:count]
