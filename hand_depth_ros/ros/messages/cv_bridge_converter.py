"""Colour conversion through cv_bridge, where it is installed and works.

cv_bridge's compiled half fails to import when it was built for another NumPy or OpenCV, and some of
its versions convert wrongly. So it has to convert a small known image first, once per encoding, and
is used only if the result equals OpenCV's own conversion: a robot with cv_bridge and a laptop
without it see the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

Converter = Callable[[np.ndarray, str], np.ndarray]

# The encodings of sensor_msgs that cv_bridge converts to rgb8; it has no uyvy, yuyv, nv12, nv21.
_NAMES = frozenset(
    f"{name}{bits}"
    for bits in (8, 16)
    for name in ("rgb", "bgr", "rgba", "bgra", "mono", "bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg")
)


@lru_cache(maxsize=64)
def cv_bridge_converter(name: str, reference: Converter) -> Converter | None:
    """Return a converter from encoding `name` to RGB through cv_bridge, None if it cannot be used.

    Args:
        name: sensor_msgs encoding.
        reference: The conversion that cv_bridge must reproduce on a known image.
    """
    bridge = _bridge() if name in _NAMES else None
    if bridge is None:
        return None

    def convert(pixels: np.ndarray, encoding: str) -> np.ndarray:
        return np.asarray(bridge.imgmsg_to_cv2(_message(pixels, encoding), desired_encoding="rgb8"))

    try:
        agrees = np.array_equal(convert(_probe(name), name), reference(_probe(name), name))
    except Exception:  # a broken build raises anything; it is then not used
        return None
    return convert if agrees else None


@lru_cache(maxsize=1)
def _bridge() -> Any | None:
    try:
        from cv_bridge import CvBridge

        return CvBridge()
    except Exception:  # ImportError when missing; SystemError, AttributeError, KeyError from broken builds
        return None


def _probe(name: str) -> np.ndarray:
    """Return a random image of the encoding: (6, 8) or (6, 8, C)."""
    channels = 3 if name.startswith(("rgb", "bgr")) else 1
    channels = 4 if name.startswith(("rgba", "bgra")) else channels
    dtype = np.uint16 if name.endswith("16") else np.uint8
    values = np.random.default_rng(0).integers(
        0, np.iinfo(dtype).max, (6, 8, channels), dtype=dtype, endpoint=True
    )
    return values[..., 0] if channels == 1 else values


def _message(pixels: np.ndarray, encoding: str) -> SimpleNamespace:
    """Return an object with the fields of sensor_msgs/Image."""
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=np.ascontiguousarray(pixels).reshape(-1).view(np.uint8),
    )
