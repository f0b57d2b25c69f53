"""One colour image and the camera that took it, checked and on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hand_depth_ros.errors import ImageError
from hand_depth_ros.geometry.camera import Camera


@dataclass(frozen=True)
class Frame:
    """A colour image and its camera.

    Attributes:
        rgb: uint8 (H, W, 3), the caller's array.
        image: uint8 (3, H, W) on the device, channels innermost in memory.
        camera: The camera of these pixels.
    """

    rgb: np.ndarray
    image: torch.Tensor
    camera: Camera

    @classmethod
    def upload(cls, rgb: np.ndarray, camera: Camera, device: torch.device) -> Frame:
        """Check an image against its camera and put it on the device.

        Raises:
            ImageError: The image is not uint8 (H, W, 3) of the camera's size.
        """
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            given = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
            raise ImageError(f"the image must be a uint8 (H, W, 3) RGB array, not {given}")
        if rgb.shape[:2] != (camera.height, camera.width):
            raise ImageError(
                f"camera_info is {camera.width}x{camera.height} but the image is {rgb.shape[1]}x{rgb.shape[0]}: "
                "use the camera_info that belongs to this image"
            )
        image = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(device).permute(2, 0, 1)
        return cls(rgb, image, camera)
