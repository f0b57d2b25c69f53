"""Quantize depth and sigma to 16-bit integers, for PNG files and 16UC1 messages."""

from __future__ import annotations

import numpy as np

SIGMA_UNIT_M = 1e-4
"""Unit of quantized sigma: 0.1 mm."""


def depth_to_mm(depth: np.ndarray) -> np.ndarray:
    """Round depth (H, W) in metres to uint16 millimetres.

    Depth that is NaN, not positive, or beyond 65.535 m becomes 0.
    """
    millimetres = np.zeros(depth.shape, np.uint16)
    valid = depth > 0.0
    exact = np.rint(depth[valid].astype(np.float64) * 1000.0)
    millimetres[valid] = np.where(exact <= 65535.0, exact, 0.0).astype(np.uint16)
    return millimetres


def sigma_to_units(sigma: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Round sigma (H, W) in metres to uint16 units of SIGMA_UNIT_M.

    0 exactly where `depth_to_mm(depth)` is 0; elsewhere at least 1, and 65535 for sigma that is not
    finite.
    """
    units = np.zeros(sigma.shape, np.uint16)
    valid = depth_to_mm(depth) > 0
    units[valid] = np.clip(np.rint(np.nan_to_num(sigma[valid], nan=np.inf) / SIGMA_UNIT_M), 1, 65535)
    return units
