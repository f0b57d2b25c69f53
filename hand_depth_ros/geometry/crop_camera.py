"""The virtual crop camera: a pinhole camera at the real one's optical centre, turned and zoomed onto a hand.

Crop and frame are related through rays, so lens distortion and perspective are undone exactly and depth maps
both ways: a crop pixel with ray r and depth z is the point z*r; on the frame ray q its depth there is z / (R
q)_z. Torch throughout, CPU and CUDA alike; bounding boxes are worked out from the geometry in numpy, without
asking the GPU. Imported through hand_depth_ros.geometry.camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.distortion import distort

if TYPE_CHECKING:
    from hand_depth_ros.geometry.camera import Camera

Roi = tuple[float, float, float, float]
"""x, y, width, height in frame pixels."""

MARGIN = 1.35
"""Side of a crop over the larger side of the hand in it, at use and in training."""
_LARGEST_POOL = 8


class Reprojected(NamedTuple):
    """A crop's result on the frame's pixels; tensors of the shape of ``frame[slice_y, slice_x]``."""

    slice_y: slice
    slice_x: slice
    depth: torch.Tensor
    """float32, metres along the frame's optical axis, NaN where ``mask`` is not above 0.5."""
    mask: torch.Tensor
    """float32 probability; pixels of the frame outside the slices are not above 0.5."""
    extras: dict[str, torch.Tensor]
    """As given, interpolated like depth but not rescaled; NaN where depth is."""


@dataclass(frozen=True)
class CropCamera:
    """A square pinhole camera: ``v_crop = rotation @ v_frame``, focal length ``f`` and side ``size`` in
    pixels.

    Its principal point is the middle, ((size - 1) / 2, (size - 1) / 2).
    """

    rotation: tuple[tuple[float, float, float], ...]
    f: float
    size: int

    @classmethod
    def from_box(
        cls, camera: Camera, roi: Roi, size: int, margin: float = MARGIN, roll: float = 0.0
    ) -> CropCamera:
        """The crop camera for a hand whose tight box in the frame is ``roi``; the box may leave the frame.

        The optical axis goes through the ray of the box's centre, by the smallest rotation, then ``roll``
        radians about it (the hand turns counter-clockwise in the crop). The box's larger extent, seen by that
        camera before the roll, times ``margin`` fills ``size``. Raises CameraError for a box that has no size
        or that the lens cannot see.
        """
        x, y, width, height = (float(value) for value in roi)
        if not all(math.isfinite(value) for value in (x, y, width, height)) or width <= 0 or height <= 0:
            raise CameraError(
                f"roi {tuple(roi)} is not a box: give x, y, width, height with a positive size."
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
            raise CameraError(f"roi {tuple(roi)} lies where this lens has no rays.")
        rotation = _smallest_rotation(_unit(axis))
        low, high = _extent(rays @ rotation.T)
        extent = float((high - low).max())
        rotation = _rolled(rotation, roll)
        return cls(tuple(map(tuple, rotation.tolist())), size / (margin * max(extent, 1e-6)), int(size))

    @classmethod
    def from_points(
        cls, camera: Camera, pixels: np.ndarray, size: int, margin: float = MARGIN, roll: float = 0.0
    ) -> CropCamera:
        """The crop camera for a hand whose outline (or part of it) in the frame is ``pixels`` (n, 2).

        Turned by ``roll`` about the mean ray first, as `from_box` does; then towards the middle of the box around what it
        sees so turned, whose larger extent times ``margin`` fills ``size``. Pixels that the lens has no rays for do not count;
        CameraError when fewer than three are left.
        """
        rays = camera.unproject(pixels)
        rays = rays[np.isfinite(rays).all(axis=1)]
        if len(rays) < 3:
            raise CameraError("an outline of fewer than three pixels that this lens has rays for")
        rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        rotation = _smallest_rotation(_unit(rays.mean(axis=0)))
        rotation = _rolled(rotation, roll)
        low, high = _extent(rays @ rotation.T)
        rotation = _smallest_rotation(_unit(np.append((low + high) / 2, 1.0))) @ rotation
        extent = float((high - low).max())
        return cls(tuple(map(tuple, rotation.tolist())), size / (margin * max(extent, 1e-6)), int(size))

    def resized(self, size: int) -> CropCamera:
        """The same camera with pixels of another size: ``size`` of them side by side see what its own do."""
        return self if size == self.size else CropCamera(self.rotation, self.f * size / self.size, size)

    @property
    def centre(self) -> float:
        """The principal point, px, both ways."""
        return (self.size - 1) / 2

    @property
    def matrix(self) -> np.ndarray:
        """K of the crop camera, float64 (3, 3)."""
        return np.array([[self.f, 0, self.centre], [0, self.f, self.centre], [0, 0, 1]], np.float64)

    def rays(self, device: str | torch.device = "cpu") -> torch.Tensor:
        """float32 (size, size, 3) in the crop camera's frame, z = 1. Kept: do not write to it."""
        return _crop_rays(self.f, self.size, str(device))

    def to_frame(self, camera: Camera, pixels: np.ndarray) -> np.ndarray:
        """Crop pixels (..., 2) -> frame pixels float64 (..., 2); NaN where the frame's lens sees nothing."""
        pixels = np.asarray(pixels, np.float64)
        rays = np.concatenate(((pixels - self.centre) / self.f, np.ones_like(pixels[..., :1])), -1)
        return camera.project(rays @ np.array(self.rotation))

    def to_crop(self, camera: Camera, pixels: np.ndarray) -> np.ndarray:
        """Frame pixels (..., 2) -> crop pixels float64 (..., 2); NaN behind the crop camera."""
        rays = camera.unproject(pixels) @ np.array(self.rotation).T
        z = np.where(rays[..., 2:] > 1e-9, rays[..., 2:], np.nan)
        return rays[..., :2] / z * self.f + self.centre

    def sample(self, camera: Camera, image: torch.Tensor) -> torch.Tensor:
        """What the crop camera sees of the frame.

        ``image`` (C, camera.height, camera.width), uint8 or float, any device and strides -> float32
        (C, size, size) on the same device, in the image's own units, zero where the ray misses the frame.
        Where the crop shrinks the frame k-fold, k x k of its pixels are averaged first: nothing aliases.
        """
        if image.ndim != 3 or tuple(image.shape[1:]) != (camera.height, camera.width):
            raise CameraError(
                f"image is {tuple(image.shape)}: the camera is (C, {camera.height}, {camera.width})."
            )
        box, inside, shrink = self._frame_box(camera)
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            return torch.zeros((image.shape[0], self.size, self.size), device=image.device)
        pool = max(1, min(round(shrink), _LARGEST_POOL))
        x0, x1 = _quantize(x0, x1, pool, camera.width)
        y0, y1 = _quantize(y0, y1, pool, camera.height)
        part = image[:, y0:y1, x0:x1].float()
        if pool > 1:
            part = _pooled(part, pool)
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
        """The crop's depth, put on the frame's own pixels.

        ``depth`` (size, size) metres along the crop's axis; ``weight`` (size, size) the hand's probability;
        ``extra`` more maps of that shape, e.g. sigma / depth (scale-free, as extras are not rescaled). Depth
        and extras are interpolated among crop pixels whose weight is above 0.5 only: nothing smears across
        the mask's border, and depth outside of the mask may be anything, NaN included.
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
        self, camera: Camera, crop_box: Roi | None = None
    ) -> tuple[tuple[int, int, int, int], bool, float]:
        """The frame's pixels that a box of the crop (default: all) covers.

        x0, y0, x1, y1 (ends excluded, within the frame), whether the box lies in the frame whole, and by what
        factor the crop shrinks the frame.
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
        """Where in the frame every crop pixel lies, counted from pixel (x0, y0): two float32 (size, size)."""
        to_ray = np.array(self.rotation).T @ np.linalg.inv(self.matrix)
        to_pixel = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ camera.matrix
        index = _index(self.size, device)
        x, y, z = _planes(to_pixel @ to_ray if camera.is_pinhole else to_ray, index, index)
        z = torch.where(z > 1e-6, z, float("nan"))
        x, y = x / z, y / z
        if camera.is_pinhole:
            return x, y
        x, y = distort(x, y, camera.distortion_model, camera.d)
        return x * camera.fx + to_pixel[0, 2], y * camera.fy + to_pixel[1, 2]

    def _crop_grid(
        self, camera: Camera, x0: int, y0: int, x1: int, y1: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """grid_sample's coordinates of frame pixels in the crop (h, w, 2), and (R ray)_z of each (h, w)."""
        unit = np.array(
            [[2 / self.size, 0, 1 / self.size - 1], [0, 2 / self.size, 1 / self.size - 1], [0, 0, 1]]
        )
        from_ray = unit @ self.matrix @ np.array(self.rotation)
        if camera.is_pinhole:
            shift = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1.0]])
            from_pixel = from_ray @ np.linalg.inv(camera.matrix) @ shift
            x, y, z = _planes(from_pixel, _index(x1 - x0, device), _index(y1 - y0, device))
        else:
            rays = camera.rays(device)[y0:y1, x0:x1]
            x, y, z = (m[0] * rays[..., 0] + m[1] * rays[..., 1] + m[2] for m in from_ray.tolist())
            z = torch.nan_to_num(z, nan=-1.0)
        z = z.clamp_min(1e-6)
        grid = torch.empty((*z.shape, 2), device=device)
        torch.div(x, z, out=grid[..., 0])
        torch.div(y, z, out=grid[..., 1])
        return (grid if camera.is_pinhole else torch.nan_to_num(grid, 9.0)), z


def _quantize(low: int, high: int, step: int, limit: int) -> tuple[int, int]:
    """low..high made longer, within 0..limit, until ``step`` divides it; unchanged where it cannot be."""
    high = min(high + (low - high) % step, limit)
    longer = low - (low - high) % step
    return (longer, high) if longer >= 0 else (low, high)


def _pooled(image: torch.Tensor, k: int) -> torch.Tensor:
    """Mean of k x k pixels, (C, H, W) -> (C, ceil(H / k), ceil(W / k)); the border is repeated to fill up.

    Sums of strided views: three times as fast on CPU as avg_pool2d on a frame whose channels are innermost.
    """
    below, right = -image.shape[1] % k, -image.shape[2] % k
    if below or right:
        image = F.pad(image[None], (0, right, 0, below), "replicate")[0]
    rows = sum((image[:, i::k] for i in range(1, k)), image[:, 0::k])
    return sum((rows[:, :, i::k] for i in range(1, k)), rows[:, :, 0::k]) / (k * k)


def _planes(
    matrix: np.ndarray, columns: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """matrix @ (column, row, 1) for every pixel of a grid: three (rows, columns)."""
    a, b, c = ((m[0] * columns)[None, :] + (m[1] * rows + m[2])[:, None] for m in matrix.tolist())
    return a, b, c


@lru_cache(maxsize=8)
def _crop_rays(f: float, size: int, device: str) -> torch.Tensor:
    steps = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / f
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), -1).float().to(device)


@lru_cache(maxsize=16)
def _index_to(limit: int, device: str) -> torch.Tensor:
    return torch.arange(limit, dtype=torch.float32, device=device)


def _index(count: int, device: torch.device) -> torch.Tensor:
    """0, 1, ... count - 1 as float32, kept by powers of two."""
    return _index_to(1 << max(count - 1, 1).bit_length(), str(device))[:count]


def _box_border(x: float, y: float, width: float, height: float) -> np.ndarray:
    """The centre of a box, then points along its border: (1 + 4 * 8, 2)."""
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


def _occupied(hand: torch.Tensor) -> Roi:
    """The box of the crop that holds every hand pixel and one more around; tiny where there is none."""
    mask = hand.numpy()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (mask.shape[1] / 2, mask.shape[0] / 2, 1e-3, 1e-3)
    return (columns[0] - 1.0, rows[0] - 1.0, columns[-1] - columns[0] + 2.0, rows[-1] - rows[0] + 2.0)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _rolled(rotation: np.ndarray, roll: float) -> np.ndarray:
    """``rotation``, then ``roll`` radians about the optical axis: what is seen turns counter-clockwise."""
    cos, sin = math.cos(roll), math.sin(roll)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]]) @ rotation


def _extent(rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x / z, y / z of rays (n, 3) in front of the camera."""
    seen = rays[rays[:, 2] > 0.05]
    flat = seen[:, :2] / seen[:, 2:]
    return flat.min(axis=0), flat.max(axis=0)


def _smallest_rotation(axis: np.ndarray) -> np.ndarray:
    """The rotation without roll that takes a unit vector (z > -1) to +z (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + z)
