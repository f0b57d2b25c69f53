"""Textured everyday objects as solids: triangle meshes in metres, such as the YCB set.

A `MeshThing` answers what a `Thing` answers (half extents, distance, surface), so that a hand can
hold either.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.synthesis.surface import OBJECT, TEXTURED, Surface, vertex_normals

_NEAR_M = 0.006  # nearer than this, the distance to the tangent plane is the better one


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh in its own axes, centred on its bounding box.

    z is up when the object stands.

    vertices (V, 3) metres; triangles (T, 3); uv (T, 3, 2); half (3,) half extents; points, normals
    (V + T, 3) of vertices and triangles' centres, and their tree; texture: index of its image.
    """

    name: str
    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    half: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    tree: cKDTree
    texture: int


@dataclass(frozen=True)
class MeshThing:
    """A mesh in space. rotation (3, 3): columns are its axes; centre (3,) metres."""

    mesh: Mesh
    rotation: np.ndarray
    centre: np.ndarray
    mirrored: bool = False

    @property
    def kind(self) -> str:
        """The object's name."""
        return self.mesh.name

    @property
    def half(self) -> np.ndarray:
        """(3,) half extents along its own axes, metres."""
        return self.mesh.half

    def _local(self, points: np.ndarray) -> np.ndarray:
        local = (points - self.centre) @ self.rotation
        return local * [-1.0, 1.0, 1.0] if self.mirrored else local

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) metres from points (N, 3) to the surface, negative inside.

        Exact to about a quarter of a triangle's size.
        """
        p = self._local(points)
        away, k = self.mesh.tree.query(p)
        height = ((p - self.mesh.points[k]) * self.mesh.normals[k]).sum(1)
        return np.where(away < _NEAR_M, height, np.copysign(away, height))

    def placed(self, rotation: np.ndarray, centre: np.ndarray) -> MeshThing:
        """Return the same object elsewhere."""
        return replace(self, rotation=rotation, centre=centre)

    def moved(self, axes: np.ndarray, origin: np.ndarray) -> MeshThing:
        """Convert from coordinates along the rows of `axes` (3, 3) around `origin`.

        In a left-handed frame the object becomes its mirror image (its print reads backwards).
        """
        rotation = axes.T @ self.rotation
        mirrored = self.mirrored
        if np.linalg.det(rotation) < 0:
            rotation, mirrored = rotation * [-1.0, 1.0, 1.0], not mirrored
        return MeshThing(self.mesh, rotation, self.centre @ axes + origin, mirrored)

    def surface(self, rng: np.random.Generator) -> Surface:
        """Return its triangles, labelled OBJECT."""
        points, triangles, uv = self.mesh.vertices, self.mesh.triangles, self.mesh.uv
        if self.mirrored:
            points, triangles, uv = points * [-1.0, 1.0, 1.0], triangles[:, ::-1], uv[:, ::-1]
        count = len(triangles)
        return Surface(
            points @ self.rotation.T + self.centre, triangles, uv, np.full(count, TEXTURED + self.mesh.texture),
            np.full(count, OBJECT), np.ones((len(points), 3)), np.full(len(points), -1.0),
        )  # fmt: skip


def object_folders(folder: Path) -> list[Path]:
    """Return the folders of `folder` that hold a textured mesh."""
    found = sorted(path.parent for path in folder.glob("*/textured.obj"))
    if not found:
        raise DatasetError(f"{folder} holds no objects (NAME/textured.obj with NAME/texture_map.jpg)")
    return found


def texture_of(folder: Path) -> Path:
    """Return the image of an object."""
    for ending in (".jpg", ".jpeg", ".png"):
        path = folder / f"texture_map{ending}"
        if path.exists():
            return path
    raise DatasetError(f"{folder} holds no texture_map.jpg or .png")


def _parsed(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read vertices (V, 3), triangles (T, 3) and texture coordinates (T, 3, 2)."""
    vertices, uv, corners = [], [], []
    try:
        for line in path.read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "v":
                vertices.append(rest.split()[:3])
            elif word == "vt":
                uv.append(rest.split()[:2])
            elif word == "f":
                corners.append([corner.split("/")[:2] for corner in rest.split()])
        points, flat = np.array(vertices, float), np.array(uv, float)
        indices = np.array(corners, int).reshape(-1, 3, 2) - 1
        return points, indices[..., 0], flat[indices[..., 1]]
    except (ValueError, IndexError) as error:
        raise DatasetError(f"{path} is not a mesh of textured triangles: {error}") from error


@functools.lru_cache(maxsize=64)
def load_object(folder: Path, texture: int) -> Mesh:
    """Read NAME/textured.obj; raise DatasetError if it is not a mesh of textured triangles."""
    points, triangles, images = _parsed(folder / "textured.obj")
    points, inverse = np.unique(_upright(points).round(6), axis=0, return_inverse=True)
    triangles = inverse.reshape(-1)[triangles]  # no seams: a vertex has one normal
    a, b, c = (points[triangles[:, i]] for i in range(3))
    if (a * np.cross(b, c)).sum() < 0:  # signed volume: the triangles face inwards
        triangles, images = triangles[:, ::-1].copy(), images[:, ::-1].copy()
    a, b, c = (points[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    faces = faces / np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-12)
    samples = np.concatenate([points, (a + b + c) / 3])
    normals = np.concatenate([vertex_normals(points, triangles), faces])
    half = np.ptp(points, axis=0) / 2
    images = images.astype(np.float32)
    return Mesh(folder.name, points, triangles, images, half, samples, normals, cKDTree(samples), texture)


def random_object(folders: Sequence[Path], rng: np.random.Generator) -> MeshThing:
    """Return one of the objects, at the origin."""
    k = int(rng.integers(len(folders)))
    return MeshThing(load_object(folders[k], k), np.eye(3), np.zeros(3))


def _upright(points: np.ndarray) -> np.ndarray:
    """Turn about z so that the footprint's smallest rectangle lies along the axes.

    Centre the bounding box.
    """
    (_, _, degrees) = cv2.minAreaRect(points[:, :2].astype(np.float32))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    return points - (points.min(0) + points.max(0)) / 2
