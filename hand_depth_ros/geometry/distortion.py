"""Lens distortion, forward and inverse: the models that sensor_msgs/CameraInfo names.

Works on normalised image coordinates (x/z, y/z), no unit. The formulas are OpenCV's: calib3d ("plumb_bob"
with 4 or 5 coefficients k1 k2 p1 p2 k3, "rational_polynomial" with k4 k5 k6 and the optional thin prism
s1..s4) and fisheye ("equidistant", k1..k4 on the angle). May be imported by anyone; imports numpy and torch
only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

COEFFICIENT_COUNTS = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 4, 5, 8, 12, 14),
    "equidistant": (0, 4),
}
"""How many coefficients each model may have; 0 means all zero."""

_STEEPEST = np.pi / 2 - 1e-3  # rad from the optical axis: steeper rays have no usable z = 1 form
_WIDEST = 8.0  # the largest x/z that a radial polynomial is followed to: 83 degrees from the axis


def is_pinhole(model: str, d: tuple[float, ...]) -> bool:
    """Whether this lens does not distort at all. An equidistant lens always does."""
    return model != "equidistant" and not any(d)


def distort(x: Any, y: Any, model: str, d: tuple[float, ...]) -> tuple[Any, Any]:
    """Ideal normalised coordinates -> distorted ones; numpy arrays or torch tensors of one shape.

    NaN where the lens cannot see: past the radius at which its polynomial folds back, a point outside the
    picture would otherwise come out inside it.
    """
    if is_pinhole(model, d):
        return x, y
    lib: Any = torch if isinstance(x, torch.Tensor) else np
    limit = radial_limit(model, d)
    r2 = x * x + y * y
    r2 = lib.where(r2 <= limit * limit, r2, float("nan"))
    if model == "equidistant":
        r = lib.sqrt(r2)
        theta = lib.arctan(r)
        small = r < 1e-8
        scale = lib.where(small, 1.0, _angle(theta, d) / lib.where(small, 1.0, r))
        return x * scale, y * scale
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = _padded(d)
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if k4 or k5 or k6:
        radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xd, yd = x * radial, y * radial
    if p1 or p2:
        xy = 2 * x * y
        xd = xd + p1 * xy + p2 * (r2 + 2 * x * x)
        yd = yd + p2 * xy + p1 * (r2 + 2 * y * y)
    if s1 or s2 or s3 or s4:
        xd = xd + r2 * (s1 + r2 * s2)
        yd = yd + r2 * (s3 + r2 * s4)
    return xd, yd


def undistort(
    u: np.ndarray, v: np.ndarray, model: str, d: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of :func:`distort` in float64, by Newton's method; NaN where no ray falls on that point."""
    if is_pinhole(model, d):
        return u, v
    u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
    with np.errstate(all="ignore"):
        return _undistort_angle(u, v, d) if model == "equidistant" else _undistort_radial(u, v, d)


@lru_cache(maxsize=64)
def radial_limit(model: str, d: tuple[float, ...]) -> float:
    """The largest ideal radius (x/z) up to which the radial part rises, inf where it never stops rising."""
    if is_pinhole(model, d):
        return float("inf")
    if model == "equidistant":
        theta = np.linspace(0, _STEEPEST, 4001)
        falls = np.flatnonzero(np.diff(_angle(theta, d)) <= 0)
        return float(np.tan(theta[falls[0]] if falls.size else _STEEPEST))
    k1, k2, _, _, k3, k4, k5, k6 = _padded(d)[:8]
    r = np.linspace(0, _WIDEST, 8001)
    r2 = r * r
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    folded = (np.diff(r * (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / below) <= 0) | (below[1:] <= 0)
    return float(r[np.argmax(folded)]) if folded.any() else _WIDEST


def _padded(d: tuple[float, ...]) -> tuple[float, ...]:
    return (*d, *(0.0,) * 12)[:12]


def _angle(theta: Any, d: tuple[float, ...]) -> Any:
    """The equidistant model: angle from the axis -> distance from the principal point, in focal lengths."""
    k1, k2, k3, k4 = _padded(d)[:4]
    t2 = theta * theta
    return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))


def _undistort_angle(u: np.ndarray, v: np.ndarray, d: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    k1, k2, k3, k4 = _padded(d)[:4]
    target = np.hypot(u, v)
    theta = np.minimum(target, _STEEPEST)
    for _ in range(50):
        t2 = theta * theta
        slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
        step = (_angle(theta, d) - target) / slope
        theta = theta - step
        if not np.any(np.abs(step) > 1e-12):
            break
    r = np.tan(theta)
    seen = (np.abs(_angle(theta, d) - target) < 1e-9) & (r <= radial_limit("equidistant", d)) & (theta >= 0)
    seen &= theta <= _STEEPEST  # beyond it the tangent comes back from the other side
    scale = np.where(target < 1e-8, 1.0, np.where(seen, r, np.nan) / np.maximum(target, 1e-8))
    return u * scale, v * scale


def _undistort_radial(u: np.ndarray, v: np.ndarray, d: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = _padded(d)
    x, y = u, v
    for _ in range(30):
        r2 = x * x + y * y
        above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = above / below
        growth = ((k1 + r2 * (2 * k2 + 3 * r2 * k3)) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))) / below
        error_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2) - u
        error_y = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) + r2 * (s3 + r2 * s4) - v
        cross = 2 * x * y * growth + 2 * p1 * x + 2 * p2 * y
        prism_x, prism_y = 2 * s1 + 4 * r2 * s2, 2 * s3 + 4 * r2 * s4
        a = radial + 2 * x * x * growth + 2 * p1 * y + 6 * p2 * x + x * prism_x
        b = cross + y * prism_x
        c = cross + x * prism_y
        e = radial + 2 * y * y * growth + 6 * p1 * y + 2 * p2 * x + y * prism_y
        det = a * e - b * c
        step_x, step_y = (e * error_x - b * error_y) / det, (a * error_y - c * error_x) / det
        x, y = x - step_x, y - step_y
        if not np.any(np.abs(step_x) + np.abs(step_y) > 1e-11):
            break
    model = "rational_polynomial"
    again_x, again_y = distort(x, y, model, d)
    seen = np.abs(again_x - u) + np.abs(again_y - v) < 1e-8
    return np.where(seen, x, np.nan), np.where(seen, y, np.nan)
