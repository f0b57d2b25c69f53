"""Labelled triangle surfaces: the one shape that both the ray caster and Cycles get.

Image and depth cannot disagree, as both are made from the same triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Labels of the data set (label/NAME.png): hand instances are 1, 2, ...
FOREARM, CLOTH, BODY, OBJECT = 100, 101, 102, 103
# Materials: the slots of the renderer.
# TEXTURED + k takes the image of the k-th object.
SKIN, FABRIC, HAIR, TROUSERS, THING, METAL, DESK, TEXTURED = range(8)


@dataclass(frozen=True)
class Surface:
    """Triangles with materials and labels.

    vertices (V, 3) metres; triangles (T, 3); uv (T, 3, 2) texture coordinates; material (T,); label
    (T,); tint (V, 3) multiplies the material's colour; along (V,) metres beyond the wrist towards
    the fingers on hands and forearms, else -1.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    label: np.ndarray
    tint: np.ndarray
    along: np.ndarray

    def only(self, keep: np.ndarray) -> Surface:
        """Return the triangles where keep (T,) is true, and the vertices that they use."""
        triangles = self.triangles[keep]
        used = np.zeros(len(self.vertices), bool)
        used[triangles] = True
        return Surface(
            self.vertices[used], (np.cumsum(used) - 1)[triangles], self.uv[keep], self.material[keep], self.label[keep],
            self.tint[used], self.along[used],
        )  # fmt: skip

    def moved(self, rotation: np.ndarray, translation: np.ndarray) -> Surface:
        """Return the surface with each vertex p at rotation p + translation."""
        vertices = self.vertices @ rotation.T + translation
        return Surface(vertices, self.triangles, self.uv, self.material, self.label, self.tint, self.along)


def join(surfaces: list[Surface]) -> Surface:
    """Return several surfaces as one."""
    start = np.cumsum([0] + [len(s.vertices) for s in surfaces[:-1]])
    triangles = np.concatenate([s.triangles + offset for s, offset in zip(surfaces, start, strict=True)])
    rest = [
        np.concatenate([getattr(s, k) for s in surfaces])
        for k in ("uv", "material", "label", "tint", "along")
    ]
    return Surface(np.concatenate([s.vertices for s in surfaces]), triangles, *rest)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (V, 3) area-weighted unit normals."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    index = triangles.ravel()
    spread = np.repeat(face, 3, axis=0)
    out = np.stack([np.bincount(index, spread[:, c], minlength=len(vertices)) for c in range(3)], 1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def waves(points: np.ndarray, rng: np.random.Generator, size: float, count: int = 6) -> np.ndarray:
    """Return (N,) smooth noise of about -1 to 1 at points (N, 3): waves `size` metres long."""
    direction = rng.normal(size=(count, 3))
    direction *= (
        (2 * np.pi / size)
        * rng.uniform(0.5, 1.4, (count, 1))
        / np.linalg.norm(direction, axis=1, keepdims=True)
    )
    return np.sin(points @ direction.T + rng.uniform(0, 2 * np.pi, count)).sum(1) / np.sqrt(count)
