"""The camera to assume where none publishes camera_info: from the node's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from sensor_msgs.msg import CameraInfo

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.calibration_file import fields_of_camera, read_calibration
from hand_depth_ros.ros.messages.compressed_image import compressed_size
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.parameters import Value

URL_FORMS = "file:///absolute/path.yaml or package://PACKAGE/path.yaml"


class AssumedCamera:
    """Make the camera_info for images that come without one.

    Args:
        origin: The parameters that describe the camera, for messages.
        fields_of: Maps width and height of the image (pixels) to CameraInfo fields.
    """

    def __init__(self, origin: str, fields_of: Callable[[int, int], dict[str, Any]]) -> None:
        self._origin, self._fields_of = origin, fields_of
        self._size: tuple[int, int] | None = None
        self._info = CameraInfo()

    @classmethod
    def from_parameters(cls, values: Mapping[str, Value]) -> AssumedCamera | None:
        """Return the camera that the parameters describe; None if they describe none.

        Raises:
            CameraError: camera_info_url cannot be read.
        """
        if url := str(values["camera_info_url"]):
            path = resolve_url(url)
            fields = read_calibration(path)
            return cls(f"camera_info_url {url}", lambda width, height: fields)
        if hfov_deg := float(values["hfov_deg"]):
            return cls(
                f"hfov_deg {hfov_deg:g}",
                lambda width, height: fields_of_camera(Camera.from_hfov(width, height, hfov_deg)),
            )
        fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
        if fx:
            return cls(
                "fx, fy, cx, cy",
                lambda width, height: fields_of_camera(Camera(width, height, fx, fy, cx, cy)),
            )
        return None

    def camera_info(self, image: Any) -> CameraInfo:
        """Return the camera_info for an Image or CompressedImage.

        Raises:
            CameraError: The parameters cannot describe an image of this size.
            ImageError: The image's size cannot be read.
        """
        size = _size_of(image)
        if size != self._size:
            self._info = CameraInfo(**_plain(self._fields_of(*size)))
            self._size = size
        return self._info

    def describe(self) -> str:
        """Return which camera is assumed, for people."""
        info = self._info
        lens = f"{info.distortion_model} distortion" if any(info.d) else "no distortion"
        return (
            f"{info.width}x{info.height}, fx {info.k[0]:.1f}, fy {info.k[4]:.1f}, cx {info.k[2]:.1f}, "
            f"cy {info.k[5]:.1f}, {lens}, from {self._origin}"
        )


def resolve_url(url: str) -> Path:
    """Return the file of a camera_info_url, as drivers have it.

    Raises:
        CameraError: The URL has another form, or its package is not there.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/"):
        return Path(path)
    if parts.scheme == "package" and parts.netloc and path.strip("/"):
        return _package_share(parts.netloc, url) / path.lstrip("/")
    raise CameraError(f"camera_info_url is {url!r}: give {URL_FORMS}")


def _package_share(package: str, url: str) -> Path:
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory(package))
    except (ImportError, LookupError, OSError, ValueError) as error:
        raise CameraError(
            f"camera_info_url is {url!r}, and no package {package} is found: source the workspace that has "
            "it, or give the file itself, file:///absolute/path.yaml"
        ) from error


def _size_of(image: Any) -> tuple[int, int]:
    """Return width and height of the image that a message holds."""
    if not hasattr(image, "width"):
        return compressed_size(np.frombuffer(image.data, np.uint8))
    if image.encoding in ("nv12", "nv21"):  # the message's height may count the rows of chroma
        height, width = decode_image(image).shape[:2]
        return width, height
    return int(image.width), int(image.height)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return CameraInfo fields as rclpy's messages take them."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }
