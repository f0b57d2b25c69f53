"""Rotation matrices."""

from __future__ import annotations

import numpy as np


def rotation(vector: np.ndarray) -> np.ndarray:
    """Return matrices (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues)."""
    vector = np.asarray(vector, float)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)[..., None]
    axis = vector / np.maximum(angle[..., 0], 1e-12)
    cross = np.zeros((*vector.shape, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -axis[..., 2], axis[..., 1], -axis[..., 0]
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = axis[..., 2], -axis[..., 1], axis[..., 0]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
