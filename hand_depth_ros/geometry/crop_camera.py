"""The virtual crop camera.

A pinhole camera at the real one's optical centre, turned and zoomed onto a hand.

Crop and frame are related through rays, so lens distortion and perspective are undone exactly and
depth maps both ways: a crop pixel with ray r and depth z is the point z * r; on the frame ray q its
depth there is z / (R q)_z. Pixels are resampled in torch, on CPU and CUDA alike; bounding boxes
come from the geometry in numpy, so that nothing waits for the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.boxes import Box, mask_box
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.distortion import distort
from hand_depth_ros.geometry.sampling import average_pool, pixel_planes, pixel_range, quantize, square_rays

MARGIN = 1.35
"""Side of a crop over the longer side of the hand in it, in inference and training alike."""
_MAX_POOL = 8
_MIN_BOX_SIDE_PX = 4


class Reprojected(NamedTuple):
    """A crop's maps on the frame's pixels; tensors have the shape of ``frame[slice_y, slice_x]``.

    Attributes:
        slice_y: Rows of the frame that the crop covers.
        slice_x: Columns of the frame that the crop covers.
        depth: float32, metres along the frame's optical axis, NaN where ``mask`` is not above 0.5.
        mask: float32 probability; pixels of the frame outside the slices are not above 0.5.
        extras: As given, interpolated like depth but not rescaled; NaN where depth is.
    """

    slice_y: slice
    slice_x: slice
    depth: torch.Tensor
    mask: torch.Tensor
    extras: dict[str, torch.Tensor]


@dataclass(frozen=True)
class CropCamera:
    """A square pinhole camera that shares the frame camera's optical centre.

    Attributes:
        rotation: 3 x 3 from frame axes to crop axes: ``v_crop = rotation @ v_frame``.
        f: Focal length in crop pixels.
        size: Side in pixels; the principal point is the middle, ((size - 1) / 2, (size - 1) / 2).
    """

    rotation: tuple[tuple[float, float, float], ...]
    f: float
    size: int

    @classmethod
    def from_box(
        cls, camera: Camera, box: Sequence[float], size: int, margin: float = MARGIN, roll: float = 0.0
    ) -> CropCamera:
        """Build the crop camera for a hand whose tight box in the frame is ``box``.

        The optical axis goes through the ray of the box's centre, by the smallest rotation, then by
        ``roll`` about it. The box's longer side, as that camera sees it before the roll, times
        ``margin`` fills ``size``.

        Args:
            camera: The frame's camera.
            box: x, y, width, height in frame pixels; the box may leave the frame.
            size: Side of the crop in pixels.
            margin: Side of the crop over the longer side of the box.
            roll: Radians about the optical axis; the hand turns counter-clockwise in the crop.

        Raises:
            CameraError: The box has no size, or the lens cannot see it.
        """
        x, y, width, height = (float(value) for value in box)
        if not all(math.isfinite(value) for value in (x, y, width, height)) or width <= 0 or height <= 0:
            raise CameraError(
                f"roi {tuple(box)} is not a box: give x, y, width, height with a positive size."
            )
        border = _box_border(x, y, width, height)
        rays = camera.unproject(border)
        if not np.isfinite(rays).all():
            left, top = min(max(x, 0.0), camera.width - 2.0), min(max(y, 0.0), camera.height - 2.0)
            right, bottom = min(x + width, camera.width - 1.0), min(y + height, camera.height - 1.0)
            rays = camera.unproject(_box_border(left, top, max(right - left, 1.0), max(bottom - top, 1.0)))
        axis = rays[0]
        rays = rays[np.isfinite(rays).all(axis=1)]
        if not np.isfinite(axis).all() or len(rays) < 3:
            raise CameraError(f"roi {tuple(box)} lies where this lens has no rays.")
        rotation = smallest_rotation(axis)
        low, high = _extent(rays @ rotation.T)
        extent = float((high - low).max())
        rotation = _rolled(rotation, roll)
        return cls(tuple(map(tuple, rotation.tolist())), size / (margin * max(extent, 1e-6)), int(size))

    @classmethod
    def from_points(
        cls, camera: Camera, pixels: np.ndarray, size: int, margin: float = MARGIN, roll: float = 0.0
    ) -> CropCamera:
        """Build the crop camera for a hand with the given hull, or other pixels, in the frame.

        The camera turns to the mean ray, then by ``roll`` as in `from_box`, then to the middle of
        the box around what it sees; that box's longer side times ``margin`` fills ``size``.

        Args:
            camera: The frame's camera.
            pixels: (n, 2) frame pixels; those that the lens has no ray for are ignored.
            size: Side of the crop in pixels.
            margin: Side of the crop over the longer side of the hand.
            roll: Radians about the optical axis.

        Raises:
            CameraError: Fewer than three pixels have a ray.
        """
        rays = camera.unproject(pixels)
        rays = rays[np.isfinite(rays).all(axis=1)]
        if len(rays) < 3:
            raise CameraError("an outline of fewer than three pixels that this lens has rays for")
        return cls.from_rays(rays / np.linalg.norm(rays, axis=1, keepdims=True), size, margin, roll)

    @classmethod
    def from_rays(
        cls,
        rays: np.ndarray,
        size: int,
        margin: float = MARGIN,
        roll: float = 0.0,
        offset: Sequence[float] | np.ndarray = (0.0, 0.0),
    ) -> CropCamera:
        """Build the crop camera for a hand that is seen along ``rays``, as `from_points` does.

        Args:
            rays: (n, 3) in frame axes; their lengths weight the mean ray.
            size: Side of the crop in pixels.
            margin: Side of the crop over the longer side of the hand.
            roll: Radians about the optical axis.
            offset: (2,) x, y by which to aim beside the hand, in longer sides of the hand.
        """
        rotation = _rolled(smallest_rotation(rays.mean(axis=0)), roll)
        low, high = _extent(rays @ rotation.T)
        extent = float((high - low).max())
        centre = (low + high) / 2 + np.asarray(offset) * extent
        rotation = smallest_rotation(np.append(centre, 1.0)) @ rotation
        return cls(tuple(map(tuple, rotation.tolist())), size / (margin * max(extent, 1e-6)), int(size))

    def resized(self, size: int) -> CropCamera:
        """Return the camera with the same view and ``size`` x ``size`` pixels."""
        return self if size == self.size else CropCamera(self.rotation, self.f * size / self.size, size)

    @property
    def centre(self) -> float:
        """Return the principal point's coordinate (x and y alike) in pixels."""
        return (self.size - 1) / 2

    @property
    def matrix(self) -> np.ndarray:
        """Return K, float64 (3, 3)."""
        return np.array([[self.f, 0, self.centre], [0, self.f, self.centre], [0, 0, 1]], np.float64)

    def rays(self, device: str | torch.device = "cpu") -> torch.Tensor:
        """Return the ray of every pixel: float32 (size, size, 3) in crop axes, z = 1. Cached.

        Do not write to it.
        """
        return square_rays(self.f, self.size, str(device))

    def to_frame(self, camera: Camera, pixels: np.ndarray) -> np.ndarray:
        """Map crop pixels (..., 2) to frame pixels float64 (..., 2).

        NaN where the lens is blind.
        """
        pixels = np.asarray(pixels, np.float64)
        rays = np.concatenate(((pixels - self.centre) / self.f, np.ones_like(pixels[..., :1])), -1)
        return camera.project(rays @ np.array(self.rotation))

    def box_to_frame(self, camera: Camera, box: Box) -> Box:
        """Return the box in the frame around a box of the crop.

        It is cut to the frame and at least 4 pixels wide and high.

        Raises:
            CameraError: The lens has no ray for any of it.
        """
        x, y, w, h = box
        t = np.linspace(0, 1, 5)
        border = np.concatenate([np.stack((x + w * t, np.full(5, y + h * s)), 1) for s in t])
        pixels = self.to_frame(camera, border)
        pixels = pixels[np.isfinite(pixels).all(1)]
        if not len(pixels):
            raise CameraError("a crop lies where this lens has no rays")
        low = np.maximum(pixels.min(0), 0)
        high = np.minimum(pixels.max(0), (camera.width, camera.height))
        size = np.maximum(high - low, _MIN_BOX_SIDE_PX)
        return Box(float(low[0]), float(low[1]), float(size[0]), float(size[1]))

    def to_crop(self, camera: Camera, pixels: np.ndarray) -> np.ndarray:
        """Map frame pixels (..., 2) to crop pixels float64 (..., 2); NaN behind the crop camera."""
        rays = camera.unproject(pixels) @ np.array(self.rotation).T
        z = np.where(rays[..., 2:] > 1e-9, rays[..., 2:], np.nan)
        return rays[..., :2] / z * self.f + self.centre

    def sample(self, camera: Camera, image: torch.Tensor) -> torch.Tensor:
        """Resample the frame as the crop camera sees it.

        Where the crop shrinks the frame k-fold, k x k of its pixels are averaged first, so that
        nothing aliases.

        Args:
            camera: The frame's camera.
            image: (C, camera.height, camera.width), uint8 or float, any device and strides.

        Returns:
            float32 (C, size, size) on the same device, in the image's own units, zero where the ray
            misses the frame.

        Raises:
            CameraError: The image is not of the camera's size.
        """
        if image.ndim != 3 or tuple(image.shape[1:]) != (camera.height, camera.width):
            raise CameraError(
                f"image is {tuple(image.shape)}: the camera is (C, {camera.height}, {camera.width})."
            )
        box, inside, shrink = self._frame_box(camera)
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            return torch.zeros((image.shape[0], self.size, self.size), device=image.device)
        pool = max(1, min(round(shrink), _MAX_POOL))
        x0, x1 = quantize(x0, x1, pool, camera.width)
        y0, y1 = quantize(y0, y1, pool, camera.height)
        part = image[:, y0:y1, x0:x1].float()
        if pool > 1:
            part = average_pool(part, pool)
        x, y = self._frame_grid(camera, x0, y0, image.device)
        # frame pixel offsets -> grid_sample's -1..1 over the outer borders of the (pooled) part
        grid = torch.empty((self.size, self.size, 2), device=image.device)
        torch.mul(x + 0.5, 2 / (pool * part.shape[2]), out=grid[..., 0])
        torch.mul(y + 0.5, 2 / (pool * part.shape[1]), out=grid[..., 1])
        grid -= 1
        if inside:
            return F.grid_sample(part[None], grid[None], "bilinear", "border", align_corners=False)[0]
        hit = (
            (x >= -0.5 - x0)
            & (x <= camera.width - 0.5 - x0)
            & (y >= -0.5 - y0)
            & (y <= camera.height - 0.5 - y0)
        )
        grid = torch.nan_to_num(grid, 9.0)
        return F.grid_sample(part[None], grid[None], "bilinear", "border", align_corners=False)[0] * hit

    def reproject(
        self,
        camera: Camera,
        depth: torch.Tensor,
        weight: torch.Tensor,
        extra: dict[str, torch.Tensor] | None = None,
    ) -> Reprojected:
        """Resample the crop's depth onto the frame's pixels.

        Depth and extras are interpolated among crop pixels whose weight is above 0.5 only: nothing
        smears across the mask's border, and depth outside the mask may be anything, NaN included.

        Args:
            camera: The frame's camera.
            depth: (size, size), metres along the crop's optical axis.
            weight: (size, size), the hand's probability.
            extra: More maps of that shape, e.g. sigma / depth (scale-free, as extras are not
                rescaled).

        Raises:
            CameraError: A map is not of the crop's size.
        """
        extra = extra or {}
        for name, value in {"depth": depth, "weight": weight, **extra}.items():
            if tuple(value.shape) != (self.size, self.size):
                raise CameraError(f"{name} is {tuple(value.shape)}: the crop is ({self.size}, {self.size}).")
        weight = weight.float()
        hand = weight > 0.5
        crop_box = _occupied(hand) if weight.device.type == "cpu" else None
        x0, y0, x1, y1 = self._frame_box(camera, crop_box)[0]
        x1, y1 = max(x0, x1), max(y0, y1)
        names, maps = list(extra), [depth, *extra.values()]
        if x1 == x0 or y1 == y0:
            empty = weight.new_zeros((y1 - y0, x1 - x0))
            return Reprojected(slice(y0, y1), slice(x0, x1), empty, empty, dict.fromkeys(names, empty))
        zero = weight.new_zeros(())
        stacked = torch.stack((weight, hand.float(), *(torch.where(hand, m.float(), zero) for m in maps)))[
            None
        ]
        grid, axis_z = self._crop_grid(camera, x0, y0, x1, y1, weight.device)
        values = F.grid_sample(stacked, grid[None], "bilinear", "zeros", align_corners=False)[0]
        mask = values[0]
        total = values[1] + 0 * F.threshold(mask, 0.5, float("nan"))  # NaN where it is no hand
        placed = values[2:] / total
        return Reprojected(
            slice(y0, y1),
            slice(x0, x1),
            placed[0] / axis_z,
            mask,
            {name: placed[i + 1] for i, name in enumerate(names)},
        )

    def _frame_box(
        self, camera: Camera, crop_box: Box | None = None
    ) -> tuple[tuple[int, int, int, int], bool, float]:
        """Return the part of the frame that a box of the crop (default: all of it) covers.

        Returns:
            x0, y0, x1, y1 (ends excluded, within the frame); True if all of it lies within the
            frame; the factor by which the crop shrinks the frame.
        """
        left, top, width, height = crop_box or (-0.5, -0.5, self.size, self.size)
        pixels = self.to_frame(camera, _box_border(left, top, width, height))
        centre_step = self.to_frame(
            camera, self.centre + np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
        )
        steps = np.linalg.norm(centre_step[1::2] - centre_step[::2], axis=1)
        shrink = float(steps.max()) if np.isfinite(steps).all() else 1.0
        if not np.isfinite(pixels).all():
            return (0, 0, camera.width, camera.height), False, shrink
        bulge = 0.0 if camera.is_pinhole else 1 + 0.01 * float(np.ptp(pixels, axis=0).max())  # between points
        pad = 2 + math.ceil(shrink + bulge)
        low, high = np.floor(pixels.min(axis=0)) - pad, np.ceil(pixels.max(axis=0)) + pad + 1
        frame = (camera.width, camera.height)
        (x0, y0), (x1, y1) = (np.clip(v, 0, frame).astype(int).tolist() for v in (low, high))
        inside = bool((low >= 0).all() and (high <= frame).all())
        return (x0, y0, x1, y1), inside, shrink

    def _frame_grid(
        self, camera: Camera, x0: int, y0: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x, y (size, size) of every crop pixel in the frame, relative to (x0, y0)."""
        to_ray = np.array(self.rotation).T @ np.linalg.inv(self.matrix)
        to_pixel = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ camera.matrix
        index = pixel_range(self.size, device)
        x, y, z = pixel_planes(to_pixel @ to_ray if camera.is_pinhole else to_ray, index, index)
        z = torch.where(z > 1e-6, z, float("nan"))
        x, y = x / z, y / z
        if camera.is_pinhole:
            return x, y
        x, y = distort(x, y, camera.distortion_model, camera.d)
        return x * camera.fx + to_pixel[0, 2], y * camera.fy + to_pixel[1, 2]

    def _crop_grid(
        self, camera: Camera, x0: int, y0: int, x1: int, y1: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return frame pixels in grid_sample's crop coordinates (h, w, 2) and (R ray)_z (h, w)."""
        unit = np.array(
            [[2 / self.size, 0, 1 / self.size - 1], [0, 2 / self.size, 1 / self.size - 1], [0, 0, 1]]
        )
        from_ray = unit @ self.matrix @ np.array(self.rotation)
        if camera.is_pinhole:
            shift = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1.0]])
            from_pixel = from_ray @ np.linalg.inv(camera.matrix) @ shift
            x, y, z = pixel_planes(from_pixel, pixel_range(x1 - x0, device), pixel_range(y1 - y0, device))
        else:
            rays = camera.rays(device)[y0:y1, x0:x1]
            x, y, z = (m[0] * rays[..., 0] + m[1] * rays[..., 1] + m[2] for m in from_ray.tolist())
            z = torch.nan_to_num(z, nan=-1.0)
        z = z.clamp_min(1e-6)
        grid = torch.empty((*z.shape, 2), device=device)
        torch.div(x, z, out=grid[..., 0])
        torch.div(y, z, out=grid[..., 1])
        return (grid if camera.is_pinhole else torch.nan_to_num(grid, 9.0)), z


def _box_border(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return the centre of a box, then points along its border: (1 + 4 * 8, 2)."""
    t = np.arange(8) / 8
    ring = np.concatenate(
        (
            np.stack((t, 0 * t), 1),
            np.stack((0 * t + 1, t), 1),
            np.stack((1 - t, 0 * t + 1), 1),
            np.stack((0 * t, 1 - t), 1),
        )
    )
    return np.concatenate(([[0.5, 0.5]], ring)) * (width, height) + (x, y)


def _occupied(hand: torch.Tensor) -> Box:
    """Return the box around the crop's hand pixels, one pixel wider; a tiny one without any."""
    mask = hand.numpy()
    box = mask_box(mask)
    if box is None:
        return Box(mask.shape[1] / 2, mask.shape[0] / 2, 1e-3, 1e-3)
    return Box(box.x - 1, box.y - 1, box.width + 1, box.height + 1)


def _rolled(rotation: np.ndarray, roll: float) -> np.ndarray:
    """Append a roll (radians) to a rotation: the image turns counter-clockwise."""
    cos, sin = math.cos(roll), math.sin(roll)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]]) @ rotation


def _extent(rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest (x / z, y / z) of rays (n, 3) in front of the camera."""
    front = rays[rays[:, 2] > 0.05]
    normalized = front[:, :2] / front[:, 2:]
    return normalized.min(axis=0), normalized.max(axis=0)


def smallest_rotation(ray: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation without roll that takes a ray (3,), z > 0, to +z (Rodrigues)."""
    x, y, z = ray / np.linalg.norm(ray)
    cross = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + z)
