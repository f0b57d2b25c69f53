"""Lens distortion, forward and inverse, as sensor_msgs/CameraInfo and OpenCV define it.

Works on normalised image coordinates (x/z, y/z), without unit. The formulas are OpenCV's: calib3d
(k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]]: radial, tangential, rational, thin prism, tilted
sensor) and fisheye ("equidistant", k1..k4 on the angle). Imports only NumPy.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from hand_depth_ros.errors import CameraError

EQUIDISTANT = "equidistant"
POLYNOMIALS = ("plumb_bob", "rational_polynomial")
MODELS = (*POLYNOMIALS, EQUIDISTANT)
POLYNOMIAL_COUNTS = (0, 4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV's polynomial takes, whatever the model is called; 0: none."""
EQUIDISTANT_COUNTS = (0, 4)
_ALIASES = {
    "": "plumb_bob",
    "none": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "radtan": "plumb_bob",
    "radial_tangential": "plumb_bob",
    "opencv": "rational_polynomial",
    "rational": "rational_polynomial",
    "thin_prism": "rational_polynomial",
    "fisheye": EQUIDISTANT,
    "opencv_fisheye": EQUIDISTANT,
    "kannala_brandt": EQUIDISTANT,
    "kannala_brandt4": EQUIDISTANT,
}
_FISHEYE_NAME = re.compile("fisheye|equidistant|kannala", re.IGNORECASE)

_STEEPEST = np.pi / 2 - 1e-3  # rad from the optical axis: steeper rays have no usable z = 1 form
_WIDEST = 8.0  # the largest x/z that a radial polynomial is followed to: 83 degrees from the axis
_MAX_TILT = 0.5  # rad; larger tilts belong to no sensor, and are probably degrees
_MAX_MAGNIFICATION = 2.5  # of the central half of an image, by any lens


def known_model(name: str, d: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
    """Return the model, one of MODELS, and the coefficients that a camera means.

    The number of coefficients decides, as in OpenCV, and not the name: drivers write "plumb_bob"
    beside eight of them. Zeros at the end never count. A lens without distortion needs no name.

    Args:
        name: distortion_model of camera_info.
        d: Its coefficients, finite.

    Raises:
        CameraError: The model is unknown, or the coefficients are too few, too many or a
            sensor tilt that cannot be.
    """
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    model = _ALIASES.get(plain, plain)
    if model not in MODELS and not any(d):
        model, d = EQUIDISTANT if _FISHEYE_NAME.search(name) else "plumb_bob", ()
    if model not in MODELS:
        raise CameraError(
            f"distortion_model {name[:40]!r} is not known: use one of {', '.join(MODELS)}, "
            "or a rectified image with its own camera_info."
        )
    counts = EQUIDISTANT_COUNTS if model == EQUIDISTANT else POLYNOMIAL_COUNTS
    given = len(d)
    if given not in counts:
        used = max((index + 1 for index, value in enumerate(d) if value), default=0)
        fits = [count for count in counts if used <= count <= given]
        if not fits:
            takes = ", ".join(str(count) for count in counts[1:])
            raise CameraError(f"d has {given} coefficients: {model} takes {takes}.")
        d = d[: fits[-1]]
    if any(abs(tilt) > _MAX_TILT for tilt in d[12:]):
        raise CameraError(
            f"d has a tilted sensor (coefficients 13, 14) of {max(map(abs, d[12:])):g} rad: no lens is mounted "
            "so, calibrate the camera again without the tilted model."
        )
    return model, d


def is_pinhole(model: str, d: tuple[float, ...]) -> bool:
    """Return whether this lens does not distort at all. An equidistant lens always does."""
    return model != EQUIDISTANT and not any(d)


def validate_magnification(model: str, d: tuple[float, ...], radius: float) -> None:
    """Raise CameraError if the lens distorts the centre of the image as no lens does.

    Args:
        model: One of MODELS.
        d: Its coefficients.
        radius: Distance from the principal point, in focal lengths, that the image covers well.
    """
    if is_pinhole(model, d):
        return
    ray = _central_ray(model, d, round(min(radius, 0.5), 3))
    if not 1.0 / _MAX_MAGNIFICATION <= ray <= _MAX_MAGNIFICATION:
        largest = max(range(len(d)), key=lambda index: abs(d[index]))
        bent = "the image's centre has no rays" if np.isnan(ray) else f"rays are bent {ray:.3g}-fold"
        raise CameraError(
            f"the distortion coefficients cannot be right: with d[{largest}] = {d[largest]:g} {bent}. "
            "Check their order and units (OpenCV's k1 k2 p1 p2 k3 ...), or calibrate the camera again."
        )


@lru_cache(maxsize=64)
def _central_ray(model: str, d: tuple[float, ...], radius: float) -> float:
    """Return x/z of the ray that falls on (radius, 0), over radius; NaN if there is none."""
    if radius <= 0.0:
        return 1.0
    x, _ = undistort(np.array([radius]), np.array([0.0]), model, d)
    return float(x[0]) / radius


def array_module(values: Any) -> Any:
    """Return torch for a tensor and NumPy for everything else; import nothing."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(values, torch.Tensor) else np


def distort(x: Any, y: Any, model: str, d: tuple[float, ...]) -> tuple[Any, Any]:
    """Distort ideal normalised coordinates; NumPy arrays or torch tensors of one shape.

    NaN where the lens cannot see: beyond the radius at which its polynomial folds back, a point
    outside the image would otherwise come out inside it.
    """
    if is_pinhole(model, d):
        return x, y
    lib = array_module(x)
    limit = radial_limit(model, d)
    r2 = x * x + y * y
    r2 = lib.where(r2 <= limit * limit, r2, float("nan"))
    if model == EQUIDISTANT:
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
    if any(d[12:]):
        return _homography(_tilt_matrix(d[12], d[13]), xd, yd)
    return xd, yd


def undistort(
    u: np.ndarray, v: np.ndarray, model: str, d: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Invert :func:`distort` in float64, by Newton's method; NaN where no ray falls on a point."""
    if is_pinhole(model, d):
        return u, v
    u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
    with np.errstate(all="ignore"):
        if model == EQUIDISTANT:
            return _undistort_angle(u, v, d)
        if any(d[12:]):
            u, v = _homography(np.linalg.inv(_tilt_matrix(d[12], d[13])), u, v)
        return _undistort_radial(u, v, d[:12])


def _tilt_matrix(tx: float, ty: float) -> np.ndarray:
    """Return OpenCV's matTilt (calib3d, "tilted camera model") for tilts in rad about x and y."""
    about_x = np.array([[1, 0, 0], [0, np.cos(tx), np.sin(tx)], [0, -np.sin(tx), np.cos(tx)]])
    about_y = np.array([[np.cos(ty), 0, -np.sin(ty)], [0, 1, 0], [np.sin(ty), 0, np.cos(ty)]])
    tilt = about_y @ about_x
    to_sensor = np.array([[tilt[2, 2], 0, -tilt[0, 2]], [0, tilt[2, 2], -tilt[1, 2]], [0, 0, 1]])
    return to_sensor @ tilt


def _homography(matrix: np.ndarray, x: Any, y: Any) -> tuple[Any, Any]:
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    w = g * x + h * y + i
    return (a * x + b * y + c) / w, (d * x + e * y + f) / w


@lru_cache(maxsize=64)
def radial_limit(model: str, d: tuple[float, ...]) -> float:
    """Return the largest ideal radius (x/z) up to which the radial part rises, or inf."""
    if is_pinhole(model, d):
        return float("inf")
    if model == EQUIDISTANT:
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
    """Convert the angle from the axis to the distance from the centre in focal lengths."""
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
    seen = (np.abs(_angle(theta, d) - target) < 1e-9) & (r <= radial_limit(EQUIDISTANT, d)) & (theta >= 0)
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
