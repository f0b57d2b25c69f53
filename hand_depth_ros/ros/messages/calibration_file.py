"""CameraInfo fields for cameras that publish none: from a calibration file or a `Camera`.

A calibration file is the YAML that camera_calibration writes (ost.yaml) and that drivers load by
camera_info_url. Numbers are checked when the fields become a `Camera`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera

_KEYS = ("image_width", "image_height", "camera_matrix", "distortion_coefficients")
_FORM = "give the YAML that camera_calibration writes (ost.yaml), with " + ", ".join(_KEYS)


def read_calibration(path: Path) -> dict[str, Any]:
    """Read a calibration file.

    Returns:
        Fields of a CameraInfo but its header and roi. Without projection_matrix, P is K.

    Raises:
        CameraError: The file cannot be read, or is not a calibration; says what is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CameraError(f"{path}: {error.strerror}: {_FORM}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CameraError(f"{path}: not YAML ({' '.join(str(error).split())}): {_FORM}") from error
    if not isinstance(content, dict):
        raise CameraError(f"{path}: not a calibration: {_FORM}")
    if missing := [key for key in _KEYS if key not in content]:
        raise CameraError(f"{path}: {', '.join(missing)} missing: {_FORM}")
    try:
        k = _numbers(content, "camera_matrix", 9)
        r = _numbers(content, "rectification_matrix", 9) if "rectification_matrix" in content else np.eye(3)
        has_p = "projection_matrix" in content
        fields = {
            "width": int(content["image_width"]),
            "height": int(content["image_height"]),
            "distortion_model": str(
                content.get("distortion_model") or content.get("camera_model") or "plumb_bob"
            ),
            "d": _numbers(content, "distortion_coefficients", None),
            "k": k,
            "r": np.ravel(r),
            "p": _numbers(content, "projection_matrix", 12) if has_p else _projection(k),
            "binning_x": 0,
            "binning_y": 0,
        }
    except (TypeError, ValueError, KeyError) as error:
        raise CameraError(f"{path}: {error}: {_FORM}") from error
    return fields


def fields_of_camera(camera: Camera) -> dict[str, Any]:
    """Return the fields of a CameraInfo but its header and roi for a camera."""
    k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1], np.float64)
    return {
        "width": camera.width,
        "height": camera.height,
        "distortion_model": camera.distortion_model,
        "d": np.array(camera.d, np.float64),
        "k": k,
        "r": np.eye(3).ravel(),
        "p": _projection(k),
        "binning_x": 0,
        "binning_y": 0,
    }


def _projection(k: np.ndarray) -> np.ndarray:
    return np.column_stack((k.reshape(3, 3), np.zeros(3))).ravel()


def _numbers(content: dict[str, Any], key: str, count: int | None) -> np.ndarray:
    """Return the numbers of a matrix, given as {rows, cols, data} or as a list."""
    value = content[key]
    data = value["data"] if isinstance(value, dict) else value
    numbers = np.ravel(np.array(data, np.float64))
    if count is not None and numbers.size != count:
        raise ValueError(f"{key} has {numbers.size} numbers, not {count}")
    return numbers
