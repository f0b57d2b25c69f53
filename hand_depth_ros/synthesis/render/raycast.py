"""Exact depth and labels: one ray through the centre of each pixel (warp, CPU or CUDA).

The optical frame is REP 103's (x right, y down, z forward); pixel centres are at integer
coordinates. Cycles' own depth pass is not used: its rays are jittered within the pixel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from hand_depth_ros.errors import MissingDependencyError
from hand_depth_ros.synthesis.surface import FOREARM, Surface


@dataclass(frozen=True)
class Pinhole:
    """An undistorted camera in the world: pixels = f * (R p + t)_xy / z + c.

    f, cx, cy pixels; rotation (3, 3); translation (3,) metres.
    """

    width: int
    height: int
    f: float
    cx: float
    cy: float
    rotation: np.ndarray
    translation: np.ndarray

    def transform(self, points: np.ndarray) -> np.ndarray:
        """Transform world points (N, 3) to the optical frame (N, 3), metres."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project world points (N, 3) to pixels (N, 2)."""
        p = self.transform(points)
        return p[:, :2] / p[:, 2:] * self.f + [self.cx, self.cy]


@dataclass(frozen=True)
class Hits:
    """Ray hits: depth (H, W) float32 metres along the optical axis, 0 nothing.

    label (H, W) uint8.
    """

    depth: np.ndarray
    label: np.ndarray


@functools.lru_cache(maxsize=1)
def _warp() -> tuple[Any, Any]:
    try:
        import warp as wp
    except ImportError as error:
        raise MissingDependencyError.for_extra("synth", "warp-lang") from error
    wp.config.quiet = True
    wp.init()

    @wp.kernel
    def first_hit(
        mesh: wp.uint64,
        rays: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
        depth: wp.array(dtype=wp.float32),  # type: ignore[valid-type]
        face: wp.array(dtype=wp.int32),  # type: ignore[valid-type]
        weights: wp.array(dtype=wp.vec2),  # type: ignore[valid-type]
    ):
        i = wp.tid()
        ray = rays[i]
        hit = wp.mesh_query_ray(mesh, wp.vec3(0.0, 0.0, 0.0), wp.normalize(ray), 100.0)
        face[i] = -1
        if hit.result:
            depth[i] = hit.t / wp.length(ray)
            face[i] = hit.face
            weights[i] = wp.vec2(hit.u, hit.v)

    return wp, first_hit


def raycast(surface: Surface, camera: Pinhole, device: str = "cpu") -> Hits:
    """Return depth and label of the first surface on each pixel's central ray."""
    wp, kernel = _warp()
    points = camera.transform(surface.vertices).astype(np.float32)
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = np.stack([(u - camera.cx) / camera.f, (v - camera.cy) / camera.f, np.ones_like(u, float)], -1)
    rays = rays.reshape(-1, 3).astype(np.float32)
    with wp.ScopedDevice(device):
        triangles = surface.triangles.astype(np.int32)
        mesh = wp.Mesh(wp.array(points, dtype=wp.vec3), wp.array(triangles.ravel(), dtype=wp.int32))
        depth = wp.zeros(len(rays), dtype=wp.float32)
        face = wp.zeros(len(rays), dtype=wp.int32)
        weights = wp.zeros(len(rays), dtype=wp.vec2)
        wp.launch(kernel, len(rays), [mesh.id, wp.array(rays, dtype=wp.vec3)], [depth, face, weights])
        depth, face, weights = depth.numpy(), face.numpy(), weights.numpy()
    label = np.where(face >= 0, surface.label[face], 0)
    hand = (label > 0) & (label < FOREARM)
    corners = surface.along[surface.triangles[face[hand]]]
    bary = weights[hand]
    along = corners[:, 0] * bary[:, 0] + corners[:, 1] * bary[:, 1] + corners[:, 2] * (1 - bary.sum(1))
    label[hand] = np.where(along > 0, label[hand], FOREARM)
    shape = (camera.height, camera.width)
    return Hits(depth.reshape(shape), label.reshape(shape).astype(np.uint8))
