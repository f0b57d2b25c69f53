"""The camera to assume where none publishes camera_info: from the node's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from sensor_msgs.msg import CameraInfo

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages.assumed_camera import AssumedCamera
from hand_depth_ros.ros.messages.calibration_file import fields_of_camera, read_calibration
from hand_depth_ros.ros.parameters import Value

URL_FORMS = "file:///absolute/path.yaml or package://PACKAGE/path.yaml"


class NodeAssumedCamera(AssumedCamera):
    """The assumed camera of the node: described by parameters, made into rclpy's messages."""

    _info: CameraInfo | None = None
    _info_fields: Mapping[str, Any] | None = None

    @classmethod
    def from_parameters(cls, values: Mapping[str, Value]) -> NodeAssumedCamera | None:
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
        fields = self.fields(image)
        if self._info is None or fields is not self._info_fields:
            self._info, self._info_fields = CameraInfo(**_plain(fields)), fields
        return self._info


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


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return CameraInfo fields as rclpy's messages take them."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }
