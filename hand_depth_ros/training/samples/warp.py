"""Crop shapes and planar warps of images."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from hand_depth_ros.network import NetworkConfig

_MIN_SCALE_TO_INTERPOLATE = 0.7
"""Below this scale a warp averages pixels instead of interpolating them."""


class CropShape(NamedTuple):
    """Sizes of a crop sample; its labels and its image show the same square.

    Attributes:
        crop_size: Side of the labels in pixels.
        input_size: Side of the image in pixels.
    """

    crop_size: int
    input_size: int

    @classmethod
    def of(cls, config: NetworkConfig) -> CropShape:
        """Return the shape that a network with this config takes and predicts."""
        return cls(config.crop_size, config.input_size)

    def to_input(self, h: np.ndarray) -> np.ndarray:
        """Convert a homography (3, 3) to label pixels into one to image pixels."""
        k = self.input_size / self.crop_size
        return np.array([[k, 0, (k - 1) / 2], [0, k, (k - 1) / 2], [0, 0, 1]]) @ h


def planar_rotation(roll: float) -> np.ndarray:
    """Return the (2, 2) rotation that turns image points counter-clockwise by ``roll`` radians.

    The sign is that of `CropCamera`: y points down, so counter-clockwise is from x towards -y.
    """
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([[cos, sin], [-sin, cos]])


def similarity(roll: float, centre: np.ndarray, zoom: float, size: int) -> np.ndarray:
    """Return the homography (3, 3) to a crop that is turned and zoomed about ``centre``.

    Args:
        roll: Radians counter-clockwise.
        centre: x, y of the pixel that goes to the middle of the crop.
        zoom: Crop pixels per image pixel.
        size: Side of the crop in pixels.
    """
    h = np.eye(3)
    h[:2, :2] = zoom * planar_rotation(roll)
    h[:2, 2] = (size - 1) / 2 - h[:2, :2] @ centre
    return h


def warp(
    image: np.ndarray, h: np.ndarray, size: int, smooth: bool, border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    """Return the square crop to which the homography ``h`` (3, 3) maps the image.

    Args:
        image: (H, W) or (H, W, C).
        h: From image pixels to crop pixels.
        size: Side of the crop in pixels.
        smooth: Interpolate, and average where the crop shrinks the image; otherwise nearest pixel.
        border: OpenCV's border mode.
    """
    if not smooth:
        return cv2.warpPerspective(image, h, (size, size), flags=cv2.INTER_NEAREST, borderMode=border)
    if np.linalg.det(h[:2, :2] / h[2, 2]) > _MIN_SCALE_TO_INTERPOLATE**2:
        return cv2.warpPerspective(image, h, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    twice = np.array([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]]) @ h
    double = cv2.warpPerspective(
        image, twice, (2 * size, 2 * size), flags=cv2.INTER_LINEAR, borderMode=border
    )
    return cv2.resize(double, (size, size), interpolation=cv2.INTER_AREA)
