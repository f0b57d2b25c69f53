"""The camera to assume for images that come without a usable camera_info. Node and bag share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hand_depth_ros.ros.messages.compressed_image import compressed_size
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.encodings import SEMI_PLANAR


class AssumedCamera:
    """A camera that the user describes by options or parameters.

    Args:
        origin: The options or parameters that describe it, for messages.
        fields_of: Maps width and height of an image (pixels) to CameraInfo fields.
    """

    def __init__(self, origin: str, fields_of: Callable[[int, int], dict[str, Any]]) -> None:
        self._origin, self._fields_of = origin, fields_of
        self._size: tuple[int, int] | None = None
        self._fields: Mapping[str, Any] = {}

    def fields(self, image: Any) -> Mapping[str, Any]:
        """Return the CameraInfo fields for an Image or CompressedImage; one object a size.

        Raises:
            CameraError: The description does not fit an image of this size.
            ImageError: The image's size cannot be read.
        """
        size = image_size(image)
        if size != self._size:
            self._fields, self._size = self._fields_of(*size), size
        return self._fields

    def describe(self) -> str:
        """Return which camera is assumed for the latest image, for people."""
        fields = self._fields
        lens = f"{fields['distortion_model']} distortion" if any(fields["d"]) else "no distortion"
        k = fields["k"]
        return (
            f"{fields['width']}x{fields['height']}, fx {k[0]:g}, fy {k[4]:g}, cx {k[2]:g}, cy {k[5]:g}, "
            f"{lens}, from {self._origin}"
        )


def image_size(image: Any) -> tuple[int, int]:
    """Return width and height of the image that an Image or CompressedImage message holds."""
    if not hasattr(image, "width"):
        return compressed_size(np.frombuffer(image.data, np.uint8))
    if image.encoding in SEMI_PLANAR:  # the message's height may count the rows of chroma
        height, width = decode_image(image).shape[:2]
        return width, height
    return int(image.width), int(image.height)
