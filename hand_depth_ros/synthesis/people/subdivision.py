"""One step of Catmull-Clark smoothing over part of a quad mesh."""

from __future__ import annotations

import numpy as np


class Subdivision:
    """Smooth the `fine` ones of fixed quads by one Catmull-Clark step.

    Vertices (V, 3) go in, more and smoother ones come out. Catmull and Clark 1978: face points,
    edge points, moved corners; borders stay where they are, so that no crack opens beside the other
    quads, which are only cut into triangles. uv (N, 2) with uv_quads (Q, 4): texture coordinates,
    interpolated linearly.
    """

    def __init__(self, quads: np.ndarray, uv: np.ndarray, uv_quads: np.ndarray, fine: np.ndarray) -> None:
        order = np.argsort(~fine, kind="stable")
        self.quads = quads[order]  # (Q, 4) the faces given, the fine ones first
        self.per_quad = np.where(fine[order], 8, 2)  # triangles that became of each
        coarse_quads, coarse_uv = quads[~fine], uv[uv_quads[~fine]]
        quads, uv_quads = quads[fine], uv_quads[fine]
        self.used, inverse = np.unique(quads, return_inverse=True)
        quads = inverse.reshape(-1, 4)
        count, faces = len(self.used), len(quads)
        edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), axis=1)
        self._edges, edge_of = np.unique(edges, axis=0, return_inverse=True)
        edge_of = edge_of.reshape(faces, 4)  # edge i of a face runs from corner i to corner i + 1
        self._quads, self._edge_of = quads, edge_of
        uses = np.bincount(edge_of.ravel(), minlength=len(self._edges))
        self._inner = uses == 2
        border = self._edges[~self._inner]
        self._border_vertex = np.zeros(count, bool)
        self._border_vertex[border.ravel()] = True
        self._valence = np.maximum(np.bincount(self._edges.ravel(), minlength=count), 1)
        self._faces_at = np.maximum(np.bincount(quads.ravel(), minlength=count), 1)
        face_point = count + np.arange(faces)
        edge_point = count + faces + edge_of
        corners = [
            np.stack([quads[:, i], edge_point[:, i], face_point, edge_point[:, i - 1]], 1) for i in range(4)
        ]
        new = np.stack(corners, 1).reshape(-1, 4)
        self.triangles = np.stack([new[:, [0, 1, 2]], new[:, [0, 2, 3]]], 1).reshape(-1, 3)
        corner_uv = uv[uv_quads]
        middle = (corner_uv + np.roll(corner_uv, -1, 1)) / 2
        centre = corner_uv.mean(1, keepdims=True)
        quad_uv = np.stack(
            [np.stack([corner_uv[:, i], middle[:, i], centre[:, 0], middle[:, i - 1]], 1) for i in range(4)],
            1,
        )
        quad_uv = quad_uv.reshape(-1, 4, 2)
        fine_uv = np.stack([quad_uv[:, [0, 1, 2]], quad_uv[:, [0, 2, 3]]], 1).reshape(-1, 3, 2)
        self._coarse_used, inverse = np.unique(coarse_quads, return_inverse=True)
        coarse = inverse.reshape(-1, 4) + count + faces + len(self._edges)
        coarse = np.stack([coarse[:, [0, 1, 2]], coarse[:, [0, 2, 3]]], 1).reshape(-1, 3)
        coarse_uv = np.stack([coarse_uv[:, [0, 1, 2]], coarse_uv[:, [0, 2, 3]]], 1).reshape(-1, 3, 2)
        self.triangles = np.concatenate([self.triangles, coarse])
        self.uv = np.concatenate([fine_uv, coarse_uv]).astype(np.float32)

    def per_triangle(self, values: np.ndarray) -> np.ndarray:
        """Repeat (Q, ...) values of `quads` for the triangles of each."""
        return np.repeat(values, self.per_quad, axis=0)

    def values(self, values: np.ndarray) -> np.ndarray:
        """Interpolate per-vertex values (V, ...) linearly onto the finer vertices."""
        near = values[self.used]
        return np.concatenate(
            [near, near[self._quads].mean(1), near[self._edges].mean(1), values[self._coarse_used]]
        )

    def __call__(self, vertices: np.ndarray) -> np.ndarray:
        """Return the finer vertices (V', 3) of vertices (V, 3)."""
        v = vertices[self.used]
        face = v[self._quads].mean(1)
        middle = v[self._edges].mean(1)
        around = np.zeros_like(middle)
        for i in range(4):
            np.add.at(around, self._edge_of[:, i], face)
        edge = np.where(self._inner[:, None], (middle * 2 + around) / 4, middle)
        q, r = np.zeros_like(v), np.zeros_like(v)
        for i in range(4):
            np.add.at(q, self._quads[:, i], face)
        for i in range(2):
            np.add.at(r, self._edges[:, i], middle)
        n = self._valence[:, None]
        moved = (q / self._faces_at[:, None] + 2 * r / n + (n - 3) * v) / n
        moved = np.where(self._border_vertex[:, None], v, moved)
        return np.concatenate([moved, face, edge, vertices[self._coarse_used]])
