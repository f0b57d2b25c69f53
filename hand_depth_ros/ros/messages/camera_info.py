"""camera_info for consumers: complete where the camera's own is not. No rclpy here."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def complete_camera_info(info: Any) -> tuple[Any, str]:
    """Return a camera_info whose P and R consumers can use, and what was filled in ("" if nothing).

    Consumers back-project with P (image_geometry, depth_image_proc), and read an R of zeros as a
    rotation. Some drivers fill in K only. P is then made from K, without baseline, and R is the
    identity.

    Args:
        info: sensor_msgs/CameraInfo, of rclpy or of rosbags. It is not changed.

    Returns:
        `info` itself where nothing is missing or K is unusable, too; else a copy.
    """
    k, p, r = (np.asarray(getattr(info, name), np.float64) for name in ("k", "p", "r"))
    usable = k.size == 9 and all(math.isfinite(value) for value in k) and k[0] > 0.0 and k[4] > 0.0
    no_p = p.size != 12 or not (p[0] > 0.0 and p[5] > 0.0)
    no_r = r.size != 9 or not r.any()
    if not usable or not (no_p or no_r):
        return info, ""
    completed = copy.copy(info)
    if no_p:
        completed.p = _like(info.p, (k[0], k[1], k[2], 0.0, 0.0, k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0))
    if no_r:
        completed.r = _like(info.r, _IDENTITY)
    missing = " and ".join(name for name, absent in (("P", no_p), ("R", no_r)) if absent)
    source = " and ".join(
        text for text, absent in (("P from K", no_p), ("the identity as R", no_r)) if absent
    )
    return completed, f"camera_info has no {missing}: the depth images' camera_info has {source}"


def _like(field: Any, values: tuple[float, ...]) -> Any:
    """Return the values as the message's own type of field holds them."""
    array = np.array(values, np.float64)
    return array if isinstance(field, np.ndarray) else array.tolist()
