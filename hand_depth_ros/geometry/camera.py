"""The camera: intrinsics, distortion, region of interest and binning.

Conventions of the whole package: REP 103 optical frame (x right, y down, z forward, metres); pixel
centres at integer coordinates (the top left pixel's is (0, 0), as in OpenCV and ROS); a ray is a
point at z = 1. Imports no ROS: camera_info messages are read by their attributes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.distortion import (
    array_module,
    distort,
    is_pinhole,
    known_model,
    undistort,
    validate_magnification,
)

_MIN_FOCAL = 0.02  # of the image's side: a pinhole that sees 175 degrees; less is mm or metres
_MAX_FOCAL = 1e6  # px; longer ones, and principal points farther out, belong to no lens
_MAX_SIDE = 65536  # px; more than any camera has, few enough to refuse before allocating
_CALIBRATE = (
    "calibrate the camera (camera_calibration) and load the result in its driver, "
    "or give the intrinsics by hand"
)

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)
else:
    Array = TypeVar("Array")


@dataclass(frozen=True)
class Camera:
    """A calibrated camera; two are equal if all their numbers are.

    width, height, fx, fy, cx, cy in pixels. ``distortion_model``: plumb_bob or rational_polynomial,
    both with 4, 5, 8, 12 or 14 coefficients ``d`` in OpenCV's order; equidistant (4). ``d=()`` is
    no distortion (for equidistant: the ideal fisheye).

    Raises:
        CameraError: Names the field that cannot be right.

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
            if not _MIN_FOCAL * side <= value <= _MAX_FOCAL:
                raise CameraError(
                    f"{name} is {value:g} for {side} pixels, no lens has that: a focal length is a positive number "
                    f"of pixels, not of mm. An uncalibrated camera publishes zeros: {_CALIBRATE}."
                )
            object.__setattr__(self, name, value)
        for name in ("cx", "cy"):
            value = _number(name, getattr(self, name))
            if abs(value) > _MAX_FOCAL:
                raise CameraError(f"{name} is {value:g}: the principal point lies in the image or near it.")
            object.__setattr__(self, name, value)
        d = tuple(_number(f"d[{i}]", value) for i, value in enumerate(self.d))
        model, d = known_model(self.distortion_model, d)
        # Within most of the smaller side every lens is close to a pinhole; the corners are not.
        validate_magnification(model, d, 0.4 * min(self.width / self.fx, self.height / self.fy))
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "d", d)

    @classmethod
    def from_camera_info(cls, msg: Any, rectified: bool = False) -> Camera:
        """Read a sensor_msgs/CameraInfo, of rclpy, of rosbags or anything with its attributes.

        width and height become the image's own: the region of interest divided by the binning. The
        principal point is (c - offset) / binning and the focal length f / binning, exactly as in
        image_geometry, because consumers back-project with that.

        Args:
            msg: The message.
            rectified: True: use P and ignore distortion. False: use K and D.

        Raises:
            CameraError: Names the field that cannot be right.
        """
        _validate_calibrated(msg)
        full_width, full_height = (
            _size("camera_info.width", msg.width),
            _size("camera_info.height", msg.height),
        )
        bin_x = max(int(getattr(msg, "binning_x", 0)), 1)
        bin_y = max(int(getattr(msg, "binning_y", 0)), 1)
        left, top, width, height = _region(getattr(msg, "roi", None), full_width, full_height)
        model, d = str(msg.distortion_model), tuple(float(value) for value in getattr(msg, "d", ()))
        if rectified:
            # Without distortion and rotation P is K: a driver that leaves P empty means that.
            use_k = not any(d) and not any(_field(msg, "p"))
            fx, fy, cx, cy = _intrinsics(msg, "k" if use_k else "p")
            model, d = "plumb_bob", ()
        else:
            fx, fy, cx, cy = _intrinsics(msg, "k")
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
        """Return an ideal camera whose image of width x height pixels is ``hfov_deg`` degrees wide.

        Pixels are square and the principal point is the centre.

        Raises:
            CameraError: The angle is not between 0 and 180 degrees.
        """
        hfov = _number("hfov", hfov_deg)
        if not 0 < hfov < 180:
            raise CameraError(f"hfov is {hfov:g} degrees: it must lie between 0 and 180.")
        width, height = _size("width", width), _size("height", height)
        f = width / 2 / math.tan(math.radians(hfov) / 2)
        return cls(width, height, f, f, (width - 1) / 2, (height - 1) / 2)

    @property
    def is_pinhole(self) -> bool:
        """True if the intrinsics alone relate rays and pixels."""
        return is_pinhole(self.distortion_model, self.d)

    @property
    def matrix(self) -> np.ndarray:
        """K, float64 (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    def project(self, points: Array) -> Array:
        """Project points (..., 3) in the optical frame, metres, to raw image pixels (..., 2).

        NaN behind the camera and beyond the range of the lens's polynomial.
        """
        lib = array_module(points)
        values: Any = np.asarray(points, np.float64) if lib is np else points
        z = values[..., 2]
        z = lib.where(z > 1e-9, z, float("nan"))
        x, y = distort(values[..., 0] / z, values[..., 1] / z, self.distortion_model, self.d)
        return lib.stack((x * self.fx + self.cx, y * self.fy + self.cy), -1)

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Return the rays float64 (..., 3), z = 1, of pixels (..., 2) inside the image or not.

        NaN where no ray falls on the pixel.
        """
        pixels = np.asarray(pixels, np.float64)
        u, v = (pixels[..., 0] - self.cx) / self.fx, (pixels[..., 1] - self.cy) / self.fy
        x, y = undistort(u, v, self.distortion_model, self.d)
        return np.stack((x, y, np.ones_like(x)), -1)

    def rays(self, device: str | torch.device = "cpu") -> torch.Tensor:
        """Return the ray of every pixel: float32 (height, width, 3), z = 1, NaN if it has none.

        The tensor is cached per camera and device: do not write to it. In memory x, y and z are
        three planes.
        """
        return _rays(self, str(device))


@lru_cache(maxsize=8)
def _rays(camera: Camera, device: str) -> torch.Tensor:
    if device != "cpu":
        return _rays(camera, "cpu").to(device)
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    planes = np.moveaxis(camera.unproject(np.stack((x, y), -1)), -1, 0)
    import torch

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
    if number != int(number) or not 0 < number <= _MAX_SIDE:
        raise CameraError(f"{name} is {value}: a whole number of pixels from 1 to {_MAX_SIDE} is needed.")
    return int(number)


def _field(msg: Any, name: str) -> list[float]:
    """Return an array field of camera_info; ROS 1 calls it in upper case."""
    raw = getattr(msg, name, None)
    return [float(value) for value in (getattr(msg, name.upper(), ()) if raw is None else raw)]


def _intrinsics(msg: Any, name: str) -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy of the matrix `name` of camera_info: k (3 x 3) or p (3 x 4)."""
    count, places = (9, (0, 4, 2, 5)) if name == "k" else (12, (0, 5, 2, 6))
    values = _field(msg, name)
    if len(values) != count:
        raise CameraError(f"camera_info.{name} has {len(values)} numbers: {count} are needed.")
    for index in sorted(places):
        if not math.isfinite(values[index]):
            raise CameraError(
                f"camera_info.{name}[{index}] is {values[index]}: the camera driver must fill it in."
            )
    for index in places[:2]:
        if values[index] <= 0:
            cure = f"{_CALIBRATE}." if name == "k" else "fill in P, or use the raw image with rectified off."
            raise CameraError(f"camera_info.{name}[{index}] (focal length) is {values[index]:g}: {cure}")
    fx, fy, cx, cy = (values[index] for index in places)
    return fx, fy, cx, cy


def _validate_calibrated(msg: Any) -> None:
    """Raise CameraError for the camera_info of an uncalibrated camera: all zeros."""
    if msg.width == msg.height == 0 and not any(_field(msg, "k")):
        raise CameraError(
            f"camera_info is empty (width, height and k[0] are 0), the camera is not calibrated: {_CALIBRATE}."
        )


def _region(roi: Any, full_width: int, full_height: int) -> tuple[int, int, int, int]:
    """Return the region of interest x, y, width, height in full-resolution pixels.

    All zeros mean everything.
    """
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
