"""A desk under a person's hands, and things that stand on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.scene.grasp import Solid
from hand_depth_ros.synthesis.scene.objects import random_object
from hand_depth_ros.synthesis.scene.things import Thing
from hand_depth_ros.synthesis.surface import DESK, Surface

_GAP_M = 0.002
_THICK_M = 0.03


def _painted(surface: Surface, rng: np.random.Generator) -> Surface:
    """Give a plain surface the desk's material and a colour of its own."""
    grey = rng.uniform(0.02, 0.8) ** 1.3
    colour = np.clip(grey * np.exp(rng.normal(0, 0.12, 3)), 0.01, 0.85)
    if rng.random() < 0.45:  # wood
        colour = np.array([0.36, 0.2, 0.1]) * np.exp(rng.normal(0, 0.5)) * np.exp(rng.normal(0, 0.08, 3))
    uv = surface.vertices[surface.triangles][..., :2].astype(np.float32)
    count = len(surface.triangles)
    tint = np.broadcast_to(colour.clip(0.01, 0.85), (len(surface.vertices), 3))
    return replace(surface, tint=tint, uv=uv, material=np.full(count, DESK))


def desk_under(points: np.ndarray, front: float, rng: np.random.Generator) -> tuple[float, Thing]:
    """Return the height of a desk's top, and the desk, just below points (N, 3) beyond its edge.

    front: y of the edge at the person; the desk is where y is smaller.
    """
    above = points[points[:, 1] < front]
    top = float(above[:, 2].min()) - _GAP_M - (rng.uniform(0, 0.12) if rng.random() < 0.4 else 0.0)
    half = np.array([rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.5), _THICK_M / 2])
    centre = np.array([rng.normal(0, 0.15), front - half[1], top - half[2]])
    return top, Thing("box", half, np.eye(3), centre)


def desk_surface(desk: Thing, rng: np.random.Generator) -> Surface:
    """Return the desk's surface in a random colour or in wood."""
    return _painted(desk.surface(rng), rng)


def clutter(
    desk: Thing, top: float, occupied: np.ndarray, objects: Sequence[Path], rng: np.random.Generator
) -> list[Surface]:
    """Return things on the desk, clear of the points `occupied` (N, 3) and of each other."""
    out: list[Surface] = []
    for _ in range(int(rng.integers(0, 7))):
        solid = _standing(desk, top, occupied, objects, rng)
        if solid is None:
            continue
        surface = solid.surface(rng)
        if isinstance(solid, Thing):
            surface = _painted(surface, rng)
        out.append(surface)
        occupied = np.concatenate([occupied, surface.vertices[::5]])
    return out


def _standing(
    desk: Thing, top: float, occupied: np.ndarray, objects: Sequence[Path], rng: np.random.Generator
) -> Solid | None:
    """Return one thing on the desk; None where there is no room for it."""
    solid: Solid
    if objects and rng.random() < 0.7:
        solid = random_object(objects, rng)
    else:  # paper, books, laptops; boxes; screens
        flat = rng.uniform([0.05, 0.08, 0.001], [0.2, 0.2, 0.02])
        block = rng.uniform([0.02, 0.02, 0.02], [0.12, 0.12, 0.12])
        screen = rng.uniform([0.12, 0.005, 0.08], [0.3, 0.02, 0.2])
        half = (flat, block, screen)[rng.choice(3, p=[0.6, 0.25, 0.15])]
        solid = Thing("box", half, np.eye(3), np.zeros(3))
    tree = cKDTree(occupied)
    for _ in range(6):
        turn = rotation(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
        x, y = rng.uniform(-0.9, 0.9, 2) * desk.half[:2] * [0.7, 1.0]
        centre = np.array([desk.centre[0] + x, desk.centre[1] + y, top + solid.half[2] + 0.0005])
        placed = solid.placed(turn, centre)
        near = tree.query_ball_point(centre, float(np.linalg.norm(solid.half)) + 0.01)
        if not near or float(placed.distance(occupied[near]).min()) > 0.004:
            return placed
    return None
