"""Balls, cylinders and boxes: signed distances and labelled surfaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.surface import OBJECT, THING, Surface, waves

KINDS = ("ball", "cylinder", "box")


@dataclass(frozen=True)
class Thing:
    """A simple solid.

    half (3,): half extents in metres (ball: the radius thrice; cylinder: the radius twice, then
    half its length); rotation (3, 3): columns are its axes; centre (3,) metres.
    """

    kind: str
    half: np.ndarray
    rotation: np.ndarray
    centre: np.ndarray

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) metres from points (N, 3) to the surface, negative inside (Quilez)."""
        p = (points - self.centre) @ self.rotation
        if self.kind == "ball":
            return np.linalg.norm(p, axis=1) - self.half[0]
        q = np.abs(p) - self.half
        if self.kind == "cylinder":
            q = np.stack([np.linalg.norm(p[:, :2], axis=1) - self.half[0], q[:, 2]], 1)
        return np.linalg.norm(q.clip(0), axis=1) + q.max(1).clip(max=0)

    def placed(self, rotation: np.ndarray, centre: np.ndarray) -> Thing:
        """Return the same solid elsewhere."""
        return Thing(self.kind, self.half, rotation, centre)

    def moved(self, axes: np.ndarray, origin: np.ndarray) -> Thing:
        """Convert from coordinates along the rows of `axes` (3, 3) around `origin`."""
        rotation = axes.T @ self.rotation
        if np.linalg.det(rotation) < 0:  # its own mirror image
            rotation = rotation * [-1.0, 1.0, 1.0]
        return Thing(self.kind, self.half, rotation, self.centre @ axes + origin)

    def surface(self, rng: np.random.Generator) -> Surface:
        """Return triangles labelled OBJECT with sharp edges and a random pattern as tint."""
        patches = {"ball": _ball, "cylinder": _cylinder, "box": _box}[self.kind]()
        points = np.concatenate([p for p, _ in patches]) * self.half
        start = np.cumsum([0] + [len(p) for p, _ in patches[:-1]])
        triangles = np.concatenate([t + s for (_, t), s in zip(patches, start, strict=True)])
        tint = np.exp(
            waves(points, rng, rng.uniform(0.008, 0.06))[:, None]
            * rng.normal(0, 0.4, 3)
            * (rng.random() < 0.5)
        )
        count = len(triangles)
        return Surface(
            points @ self.rotation.T + self.centre, triangles, np.zeros((count, 3, 2), np.float32),
            np.full(count, THING), np.full(count, OBJECT), tint.clip(0.05, 2.5), np.full(len(points), -1.0),
        )  # fmt: skip


def _patch(
    at: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of count x count cells over 0..1 x 0..1: points (N, 3), triangles (T, 3)."""
    u, v = (g.ravel() for g in np.meshgrid(*[np.linspace(0, 1, count + 1)] * 2, indexing="ij"))
    corner = (np.arange(count)[:, None] * (count + 1) + np.arange(count)).ravel()
    a, b, c, d = corner, corner + count + 1, corner + count + 2, corner + 1
    return np.stack(at(u, v), 1), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def _ball() -> list[tuple[np.ndarray, np.ndarray]]:
    def at(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        around, down = 2 * np.pi * u, np.pi * v
        return np.sin(down) * np.sin(around), np.sin(down) * np.cos(around), np.cos(down)

    return [_patch(at, 24)]


def _cylinder() -> list[tuple[np.ndarray, np.ndarray]]:
    def side(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.cos(2 * np.pi * u), np.sin(2 * np.pi * u), 2 * v - 1

    def top(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return v * np.cos(-2 * np.pi * u), v * np.sin(-2 * np.pi * u), np.ones_like(u)

    points, triangles = _patch(top, 24)
    return [_patch(side, 24), (points, triangles), (points * [1.0, -1.0, -1.0], triangles)]


def _box() -> list[tuple[np.ndarray, np.ndarray]]:
    face, triangles = _patch(lambda u, v: (2 * u - 1, 2 * v - 1, np.ones_like(u)), 10)
    turns = [face, face * [1.0, -1.0, -1.0]]
    return [(np.roll(points, k, axis=1), triangles) for k in range(3) for points in turns]
