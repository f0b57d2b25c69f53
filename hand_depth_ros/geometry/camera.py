"""The camera: intrinsics, distortion, roi and binning; and (re-exported) the virtual crop camera.

Conventions, everywhere in this package: REP 103 optical frame (x right, y down, z forward, metres); pixel
centres at integer coordinates (the top left pixel's centre is (0, 0), as in OpenCV and ROS); a ray is a point
at z = 1. Knows nothing of ROS: camera_info messages are read by their attributes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.distortion import COEFFICIENT_COUNTS, distort, is_pinhole, undistort

_MODEL_ALIASES = {"": "plumb_bob", "none": "plumb_bob", "fisheye": "equidistant"}
_SHORTEST_FOCAL = (
    0.02  # of the picture's side: a pinhole that sees 175 degrees; shorter ones are mm or metres
)
_LARGEST_FOCAL = 1e6  # px; longer ones, and principal points farther out, belong to no lens
_LARGEST_SIDE = 65536  # px; more than any camera has, little enough to refuse before allocating

Array = TypeVar("Array", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Camera:
    """A calibrated camera; two are equal when all their numbers are.

    width, height, fx, fy, cx, cy in pixels. ``distortion_model``: plumb_bob (4 or 5 coefficients ``d``),
    rational_polynomial (8, or 12 with the thin prism), equidistant (4); ``d=()`` is no distortion (for
    equidistant: the ideal fisheye). Raises :class:`CameraError` naming the field that cannot be.

    >>> Camera(640, 480, 600.0, 600.0, 320.0, 240.0).project(np.array([0.1, 0.0, 0.5]))
    array([440., 240.])
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "plumb_bob"
    d: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            object.__setattr__(self, name, _size(name, getattr(self, name)))
        for name, side in (("fx", self.width), ("fy", self.height)):
            value = _number(name, getattr(self, name))
            if not _SHORTEST_FOCAL * side <= value <= _LARGEST_FOCAL:
                raise CameraError(
                    f"{name} is {value:g} for {side} pixels, no lens has that: a focal length is a positive number "
                    "of pixels, not of mm. "
                    "An uncalibrated camera publishes zeros: calibrate it, or give the intrinsics by hand."
                )
            object.__setattr__(self, name, value)
        for name in ("cx", "cy"):
            value = _number(name, getattr(self, name))
            if abs(value) > _LARGEST_FOCAL:
                raise CameraError(f"{name} is {value:g}: the principal point lies in the picture or near it.")
            object.__setattr__(self, name, value)
        model = _MODEL_ALIASES.get(self.distortion_model, self.distortion_model)
        if model not in COEFFICIENT_COUNTS:
            raise CameraError(
                f"distortion_model {self.distortion_model[:40]!r} is not known: use one of "
                f"{', '.join(COEFFICIENT_COUNTS)}, or a rectified image with its own camera_info."
            )
        d = tuple(_number(f"d[{i}]", value) for i, value in enumerate(self.d))
        if len(d) not in COEFFICIENT_COUNTS[model]:
            counts = ", ".join(str(count) for count in COEFFICIENT_COUNTS[model])
            raise CameraError(f"d has {len(d)} coefficients: {model} takes {counts}.")
        if any(d[12:]):
            raise CameraError("d has a tilted sensor (coefficients 13, 14): use the rectified image instead.")
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "d", d)

    @classmethod
    def from_camera_info(cls, msg: Any, rectified: bool = False) -> Camera:
        """From a sensor_msgs/CameraInfo (rclpy, rosbags or anything with its attributes).

        ``rectified``: the image is rectified, so P counts and there is no distortion; else K and D. width and
        height are the image's own: the region of interest divided by the binning. The principal point is
        (c - offset) / binning and the focal length f / binning, exactly as image_geometry has it, because
        that is what consumers back-project with. CameraError names the field that cannot be.
        """
        full_width, full_height = (
            _size("camera_info.width", msg.width),
            _size("camera_info.height", msg.height),
        )
        bin_x = max(int(getattr(msg, "binning_x", 0)), 1)
        bin_y = max(int(getattr(msg, "binning_y", 0)), 1)
        left, top, width, height = _region(getattr(msg, "roi", None), full_width, full_height)
        if rectified:
            p = _matrix(msg, "p", 12)
            fx, fy, cx, cy = p[0], p[5], p[2], p[6]
            model, d = "plumb_bob", tuple[float, ...]()
        else:
            k = _matrix(msg, "k", 9)
            fx, fy, cx, cy = k[0], k[4], k[2], k[5]
            model = str(msg.distortion_model)
            d = tuple(float(value) for value in getattr(msg, "d", ()))
        return cls(
            width=width // bin_x,
            height=height // bin_y,
            fx=fx / bin_x,
            fy=fy / bin_y,
            cx=(cx - left) / bin_x,
            cy=(cy - top) / bin_y,
            distortion_model=model,
            d=d,
        )

    @classmethod
    def from_hfov(cls, width: int, height: int, hfov_deg: float) -> Camera:
        """An ideal camera whose picture of width x height pixels is ``hfov_deg`` degrees wide, square pixels, centred.

        Raises CameraError for an angle that isn't between 0 and 180 degrees.
        """
        hfov = _number("hfov", hfov_deg)
        if not 0 < hfov < 180:
            raise CameraError(f"hfov is {hfov:g} degrees: it must lie between 0 and 180.")
        width, height = _size("width", width), _size("height", height)
        f = width / 2 / math.tan(math.radians(hfov) / 2)
        return cls(width, height, f, f, (width - 1) / 2, (height - 1) / 2)

    @property
    def is_pinhole(self) -> bool:
        """Whether rays and pixels are related by the intrinsics alone."""
        return is_pinhole(self.distortion_model, self.d)

    @property
    def matrix(self) -> np.ndarray:
        """K, float64 (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    def project(self, points: Array) -> Array:
        """Points (..., 3) in the optical frame, metres -> pixels (..., 2), distorted as the picture is.

        NaN behind the camera and past the reach of the lens's polynomial.
        """
        lib: Any = torch if isinstance(points, torch.Tensor) else np
        points = points if isinstance(points, torch.Tensor) else np.asarray(points, np.float64)
        z = points[..., 2]
        z = lib.where(z > 1e-9, z, float("nan"))
        x, y = distort(points[..., 0] / z, points[..., 1] / z, self.distortion_model, self.d)
        return lib.stack((x * self.fx + self.cx, y * self.fy + self.cy), -1)

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2), inside the picture or not -> rays float64 (..., 3) with z = 1.

        NaN where no ray falls on the pixel.
        """
        pixels = np.asarray(pixels, np.float64)
        u, v = (pixels[..., 0] - self.cx) / self.fx, (pixels[..., 1] - self.cy) / self.fy
        x, y = undistort(u, v, self.distortion_model, self.d)
        return np.stack((x, y, np.ones_like(x)), -1)

    def rays(self, device: str | torch.device = "cpu") -> torch.Tensor:
        """The ray of every pixel: float32 (height, width, 3), z = 1, NaN where the lens has none.

        Kept per camera and device: do not write to it. In memory x, y and z are three planes.
        """
        return _rays(self, str(device))


@lru_cache(maxsize=8)
def _rays(camera: Camera, device: str) -> torch.Tensor:
    if device != "cpu":
        return _rays(camera, "cpu").to(device)
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    planes = np.moveaxis(camera.unproject(np.stack((x, y), -1)), -1, 0)
    return torch.from_numpy(planes.astype(np.float32, order="C")).permute(1, 2, 0)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise CameraError(f"{name} is {value!r}: a number is needed.") from None
    if not math.isfinite(number):
        raise CameraError(f"{name} is {number}: a finite number is needed. Is the camera calibrated?")
    return number


def _size(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number) or not 0 < number <= _LARGEST_SIDE:
        raise CameraError(f"{name} is {value}: a whole number of pixels from 1 to {_LARGEST_SIDE} is needed.")
    return int(number)


def _matrix(msg: Any, name: str, count: int) -> list[float]:
    raw = getattr(msg, name, None)
    values = [float(value) for value in (getattr(msg, name.upper(), ()) if raw is None else raw)]
    if len(values) != count:
        raise CameraError(f"camera_info.{name} has {len(values)} numbers: {count} are needed.")
    for index in (0, 2, 4, 5) if count == 9 else (0, 2, 5, 6):
        if not math.isfinite(values[index]):
            raise CameraError(
                f"camera_info.{name}[{index}] is {values[index]}: the camera driver must fill it in."
            )
    for index in (0, 4 if count == 9 else 5):
        if values[index] <= 0:
            cure = (
                "calibrate the camera (camera_calibration) and load the file in its driver."
                if name == "k"
                else "fill in P, or use the raw image with rectified off."
            )
            raise CameraError(f"camera_info.{name}[{index}] (focal length) is {values[index]:g}: {cure}")
    return values


def _region(roi: Any, full_width: int, full_height: int) -> tuple[int, int, int, int]:
    """The region of interest x, y, width, height in full-resolution pixels; all zeros mean everything."""
    if roi is None:
        return 0, 0, full_width, full_height
    left, top, width, height = (
        int(getattr(roi, name)) for name in ("x_offset", "y_offset", "width", "height")
    )
    if not (left or top or width or height):
        return 0, 0, full_width, full_height
    if (
        left < 0
        or top < 0
        or width <= 0
        or height <= 0
        or left + width > full_width
        or top + height > full_height
    ):
        raise CameraError(
            f"camera_info.roi ({left}, {top}, {width}x{height}) is not within {full_width}x{full_height}: "
            "camera_info.width and height are those of the whole sensor, before roi and binning."
        )
    return left, top, width, height
