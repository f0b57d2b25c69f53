"""Colour encodings of sensor_msgs/Image: pixel layout and conversion to RGB. No rclpy here."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from hand_depth_ros.errors import ImageError
from hand_depth_ros.ros.messages.depth_encoding import UNTYPED

MAX_PIXELS = 64_000_000
"""Largest image that is decoded: more than any camera has, less than exhausts the memory."""


@dataclass(frozen=True)
class Encoding:
    """Layout of one encoding.

    Attributes:
        dtype: NumPy type of a sample, u1 or u2.
        channels: Samples per pixel.
        to_rgb: OpenCV's conversion code to RGB; None: it is RGB.
        even_width: True if pixels share chroma, so that only even widths exist.
    """

    dtype: str
    channels: int
    to_rgb: int | None
    even_width: bool = False

    @property
    def pixel_bytes(self) -> int:
        """Bytes per pixel."""
        return self.channels * int(self.dtype[1])


# sensor_msgs names a Bayer pattern by its first row, OpenCV by its second row, second column: rggb
# is COLOR_BayerBG.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
SEMI_PLANAR = ("nv12", "nv21")
ENCODINGS: dict[str, Encoding] = {
    **{
        f"{name}{bits}": Encoding(f"u{bits // 8}", channels, code)
        for bits in (8, 16)
        for name, channels, code in (
            ("rgb", 3, None),
            ("bgr", 3, cv2.COLOR_BGR2RGB),
            ("rgba", 4, cv2.COLOR_RGBA2RGB),
            ("bgra", 4, cv2.COLOR_BGRA2RGB),
            ("mono", 1, cv2.COLOR_GRAY2RGB),
            *((f"bayer_{pattern}", 1, code) for pattern, code in _BAYER.items()),
        )
    },
    **{name: Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY, even_width=True) for name in ("uyvy", "yuv422")},
    **{name: Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV, even_width=True) for name in ("yuyv", "yuv422_yuy2")},
    "nv12": Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV12, even_width=True),
    "nv21": Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV21, even_width=True),
}


def resolve_encoding(name: str, untyped: str = "") -> str:
    """Return the name of the colour encoding, a key of ENCODINGS, that a message means.

    Args:
        name: encoding of the message.
        untyped: Encoding as which to read images that name only their pixels' type (8UC3); "":
            reject them.

    Raises:
        ImageError: It is unknown, or a depth encoding.
    """
    if name in ENCODINGS:
        return name
    if not UNTYPED.fullmatch(name):
        raise ImageError(
            f"encoding {name[:40]!r} is not supported: "
            "set the camera to rgb8, bgr8, mono8, yuyv, uyvy, nv12, nv21 or bayer"
        )
    fitting = [other for other in ENCODINGS if _untyped_name(other) == name]
    if untyped in fitting:
        return untyped
    if untyped and fitting:
        raise ImageError(
            f"encoding {name!r} cannot be read as {untyped}, which untyped_encoding says: "
            f"set it to one of {', '.join(fitting)}"
        )
    looks_like_depth = name.endswith("C1") and not name.startswith("8")
    if fitting and not looks_like_depth:
        raise ImageError(
            f"encoding {name!r} does not say which colours it holds: publish it as {' or '.join(fitting[:2])}, "
            "or set the parameter untyped_encoding to what it is"
        )
    raise ImageError(
        f"encoding {name[:40]!r} does not say which colours it holds (depth images look like this): "
        "remap image to a colour topic"
    )


def _untyped_name(name: str) -> str:
    """Return OpenCV's name for the pixel type of an encoding: 8UC3 for rgb8."""
    encoding = ENCODINGS[name]
    shared_chroma = encoding.even_width
    return "" if shared_chroma else f"{8 * int(encoding.dtype[1])}UC{encoding.channels}"


def validate_size(width: int, height: int) -> None:
    """Raise ImageError if an image of this size has no pixels or too many."""
    if width <= 0 or height <= 0:
        raise ImageError(f"the image is {width}x{height}: it has no pixels, check the camera driver")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image claims {width}x{height}, more than {MAX_PIXELS:,} pixels: check the camera driver"
        )
