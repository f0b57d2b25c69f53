"""Orientation of photographs: EXIF turns the stored pixels upright, and their camera with them."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from hand_depth_ros.geometry.camera import Camera


class Orientation(NamedTuple):
    """One of the eight ways to turn and mirror an image: first swap the axes, then mirror."""

    swap_axes: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def turn_image(self, image: np.ndarray) -> np.ndarray:
        """Return an image (H, W, ...) turned."""
        if self.swap_axes:
            image = image.swapaxes(0, 1)
        if self.mirror_x:
            image = image[:, ::-1]
        return image[::-1] if self.mirror_y else image

    def turn_camera(self, camera: Camera) -> Camera:
        """Return the camera of the turned image, given that of the stored one.

        Radial distortion stays; tangential and thin prism coefficients turn with the axes
        (docs.opencv.org, "Camera Calibration and 3D Reconstruction", detailed description).
        """
        width, height, fx, fy, cx, cy = (
            getattr(camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")
        )
        d = list(camera.d)
        has_tangential = camera.distortion_model != "equidistant" and len(d) >= 4
        if self.swap_axes:
            width, height, fx, fy, cx, cy = height, width, fy, fx, cy, cx
            if has_tangential:
                d[2], d[3] = d[3], d[2]  # p1, p2
                d[8:12] = d[10:12] + d[8:10]  # s1, s2, s3, s4
        if self.mirror_x:
            cx = width - 1 - cx
            if has_tangential:
                d[3] = -d[3]
                d[8:10] = [-value for value in d[8:10]]
        if self.mirror_y:
            cy = height - 1 - cy
            if has_tangential:
                d[2] = -d[2]
                d[10:12] = [-value for value in d[10:12]]
        return Camera(width, height, fx, fy, cx, cy, camera.distortion_model, tuple(d))


def find_orientation(stored: np.ndarray, upright: np.ndarray) -> Orientation:
    """Return how the stored pixels (H, W, 3) were turned to become the upright ones.

    The pixels are compared, so this holds for every file format that OpenCV turns.
    """
    for ways in product((False, True), repeat=3):
        orientation = Orientation(*ways)
        if np.array_equal(orientation.turn_image(stored), upright):
            return orientation
    raise AssertionError("OpenCV turned an image in a way that EXIF does not know")
