"""Rings and watches: bands that follow the skin around a bone."""

from __future__ import annotations

import numpy as np

from hand_depth_ros.synthesis.people.body import BodyModel, Person, bone, hand_axes, hand_joints
from hand_depth_ros.synthesis.surface import FABRIC, FOREARM, METAL, THING, Surface

_AROUND = 48


def band(
    skin: np.ndarray, quads: np.ndarray, centre: np.ndarray, axis: np.ndarray, width: float, thickness: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a closed strip around `axis` through `centre`, just outside the skin.

    skin (V, 3) vertices with quads (Q, 4).

    Returns:
        Points (4 * 48, 3) and triangles; None where the skin does not go all the way around.
    """
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    height = (skin - centre) @ axis
    edges = edges[height[edges[:, 0]] * height[edges[:, 1]] < 0]
    low, high = height[edges[:, 0]], height[edges[:, 1]]
    t = (low / (low - high))[:, None]
    cut = skin[edges[:, 0]] * (1 - t) + skin[edges[:, 1]] * t - centre
    x = np.cross(axis, [0.3, 0.9, 0.2])
    x = x / np.linalg.norm(x)
    y = np.cross(axis, x)
    where = np.arctan2(cut @ y, cut @ x) / (2 * np.pi) % 1
    order = np.argsort(where)
    where, radius = where[order], np.linalg.norm(cut, axis=1)[order]
    if len(where) < 6 or np.diff(np.r_[where, where[0] + 1]).max() > 0.3:
        return None
    turn = np.arange(_AROUND) / _AROUND
    # A band bridges hollows, and the skin's slope within its width.
    smooth = np.interp(turn, where, radius, period=1) * 1.01 + 0.0003
    smooth = np.maximum(smooth, (np.roll(smooth, 4) + np.roll(smooth, -4)) / 2)
    ring = np.cos(2 * np.pi * turn)[:, None] * x + np.sin(2 * np.pi * turn)[:, None] * y
    inner, outer = smooth[:, None] * ring, (smooth + thickness)[:, None] * ring
    half = axis * width / 2
    points = np.concatenate([inner - half, outer - 0.8 * half, outer + 0.8 * half, inner + half]) + centre
    k = np.arange(_AROUND)
    after = (k + 1) % _AROUND
    triangles = []
    for row in range(3):
        a, b = row * _AROUND + k, row * _AROUND + after
        triangles += [np.stack([a, b, b + _AROUND], 1), np.stack([a, b + _AROUND, a + _AROUND], 1)]
    return points, np.concatenate(triangles)


def _quads(model: BodyModel, *prefixes: str, side: str) -> np.ndarray:
    """Return the faces (Q, 4) whose corners are all moved by these bones."""
    return model.quads[model.vertices_of(*prefixes, side=side)[model.quads].all(1)]


def _surface(points: np.ndarray, triangles: np.ndarray, material: int, label: int) -> Surface:
    count = len(triangles)
    return Surface(
        points, triangles, np.zeros((count, 3, 2), np.float32), np.full(count, material), np.full(count, label),
        np.ones((len(points), 3)), np.full(len(points), 1.0 if label < FOREARM else -1.0),
    )  # fmt: skip


def ring(
    model: BodyModel, person: Person, bones: np.ndarray, skin: np.ndarray, side: str, finger: int, instance: int,
    rng: np.random.Generator,
) -> Surface | None:  # fmt: skip
    """Return a ring on the first bone of a finger (0 thumb .. 4 little), labelled as hand.

    skin (V, 3): the posed body.
    """
    joints = hand_joints(model, person, bones, side)
    low, high = joints[1 + 4 * finger], joints[2 + 4 * finger]
    axis = (high - low) / np.linalg.norm(high - low)
    mine = _quads(model, f"finger{finger + 1}", side=side)
    made = band(
        skin, mine, low + (high - low) * rng.uniform(0.6, 0.72), axis, rng.uniform(0.002, 0.006), 0.0012
    )
    return None if made is None else _surface(*made, METAL, instance)


def watch(
    model: BodyModel, person: Person, bones: np.ndarray, skin: np.ndarray, side: str, rng: np.random.Generator
) -> list[Surface]:
    """Return a strap and a case around the forearm near the wrist, labelled as forearm."""
    joints = hand_joints(model, person, bones, side)
    elbow = bones[model.index[bone("lowerarm01", side)], :3, 3]
    axis = (elbow - joints[0]) / np.linalg.norm(elbow - joints[0])
    centre = joints[0] + axis * rng.uniform(0.022, 0.045)
    mine = _quads(model, "lowerarm", "wrist", side=side)
    made = band(skin, mine, centre, axis, rng.uniform(0.012, 0.022), 0.0025)
    if made is None:
        return []
    strap = _surface(*made, (FABRIC, THING, METAL)[rng.integers(3)], FOREARM)
    back = -hand_axes(joints, side)[2]
    back = back - back @ axis * axis
    back = back / np.linalg.norm(back)
    across = np.cross(axis, back)
    top = ((made[0] - centre) @ back).max()
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    size = rng.uniform(0.014, 0.021)
    corner = 1.0 if rng.random() < 0.6 else 0.35  # round, or a box with round corners (superellipse)
    rim = np.stack([np.sign(f(turn)) * np.abs(f(turn)) ** corner for f in (np.cos, np.sin)], 1) * size
    flat = rim[:, :1] * axis + rim[:, 1:] * across
    levels = [flat + back * (top - 0.006), flat + back * (top + 0.004), flat * 0.92 + back * (top + 0.005)]
    points = np.concatenate([*levels, [back * (top + 0.005)]]) + centre
    k = np.arange(24)
    after = (k + 1) % 24
    sides = [
        t
        for r in (0, 24)
        for t in (
            np.stack([k + r, after + r, after + r + 24], 1),
            np.stack([k + r, after + r + 24, k + r + 24], 1),
        )
    ]
    face = np.stack([k + 48, after + 48, np.full(24, 72)], 1)
    case = _surface(points, np.concatenate(sides), METAL, FOREARM)
    return [strap, case, _surface(points, face, THING, FOREARM)]
