"""Two hands that touch, and arms that reach for a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from hand_depth_ros.synthesis.people.body import Person, body_model, bone, hand_axes, hand_joints
from hand_depth_ros.synthesis.people.poses import hand_spheres, set_arm, set_wrist
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.surface import Surface, vertex_normals

_MAX_DEPTH_M = 0.003  # flesh gives way
_PALM_M = 0.08  # a palm that faces the wrong way weighs as much as so many metres


@dataclass(frozen=True)
class Move:
    """A rigid motion in the world: p becomes rotation p + translation."""

    rotation: np.ndarray
    translation: np.ndarray
    back: np.ndarray  # (3,) unit: the way out of what it touches

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Move points (N, 3)."""
        return points @ self.rotation.T + self.translation


def arm_spheres(bones: np.ndarray, person: Person, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return spheres in a hand and its forearm: centres (N, 3) world, radii (N,) metres.

    The last eight are the forearm's, from the elbow to the wrist.
    """
    joints = hand_joints(body_model(), person, bones, side)
    points, radius, _ = hand_spheres(joints, person.hand_length_m)
    ball = np.stack(
        [joints[[1, 2, 5]].mean(0), joints[[1, 5]].mean(0), joints[[2, 5]].mean(0)]
    )  # of the thumb
    points, radius = (
        np.concatenate([points, ball]),
        np.append(radius, np.full(3, 0.062 * person.hand_length_m)),
    )
    elbow = bones[body_model().index[bone("lowerarm01", side)], :3, 3]
    arm = elbow + np.linspace(0, 0.95, 8)[:, None] * (joints[0] - elbow)
    thick = np.linspace(0.23, 0.14, 8) * person.hand_length_m
    return np.concatenate([points, arm]), np.concatenate([radius, thick])


def bring_together(
    bones: np.ndarray, person: Person, side: str, other: str, rng: np.random.Generator
) -> Move | None:
    """Return the motion that lays the other hand on this one; None where it cannot.

    Palm to palm, palm on back, or anyhow.
    """
    fixed, fixed_radius = arm_spheres(bones, person, side)
    moving, moving_radius = arm_spheres(bones, person, other)
    joints = {s: hand_joints(body_model(), person, bones, s) for s in (side, other)}
    mine, theirs = hand_axes(joints[side], side), hand_axes(joints[other], other)
    kind = rng.random()
    # The other hand's axes in terms of this one's; the frames differ in handedness.
    if kind < 0.3:  # palm to palm
        target = np.diag([1.0, 1.0, -1.0])
        turn = rotation(np.radians(rng.normal(0, [8, 8, 35])))
    elif kind < 0.65:  # one in or on the other: fingers across
        target = np.diag([-1.0, 1.0, 1.0])
        turn = rotation(np.radians([rng.normal(0, 12), rng.normal(0, 12), rng.uniform(-110, 110)]))
    else:
        target = np.diag([1.0, 1.0, -1.0])
        turn = rotation(rng.normal(0, 1.2, 3))
    rotate = (turn @ target @ mine).T @ theirs
    placed = moving @ rotate.T
    centre = joints[other][1:].mean(0) @ rotate.T
    aside = mine.T @ (rng.normal(0, [0.12, 0.2, 0.0]) * person.hand_length_m)
    side_of = 1.0 if kind < 0.3 or rng.random() < 0.5 else -1.0
    direction = mine[2] * side_of if kind < 0.65 else rng.normal(size=3)
    direction = direction / np.linalg.norm(direction)
    start = joints[side][1:].mean(0) + aside - centre
    touching = fixed_radius[:, None] + moving_radius[None] - _MAX_DEPTH_M
    # A pair touches where |d + s direction| = touching: the outermost of all pairs is met first.
    d = placed[None] + start - fixed[:, None]
    along = d @ direction
    root = along**2 - ((d**2).sum(-1) - touching**2)
    hits = np.where(root > 0, -along + np.sqrt(np.maximum(root, 0)), -np.inf)
    stop = hits.max()
    pair = np.unravel_index(hits.argmax(), hits.shape)
    # Hands shall meet, not forearms, whose spheres are the last eight.
    if not np.isfinite(stop) or pair[0] >= len(fixed) - 8 or pair[1] >= len(moving) - 8:
        return None
    return Move(rotate, start + stop * direction, direction)


def settle(move: Move, fixed: Surface, moving: Surface) -> Move:
    """Return the motion corrected along its way so that the skins touch.

    Spheres along bones describe a hand to a centimetre only.
    """
    normals = vertex_normals(fixed.vertices, fixed.triangles)
    tree = cKDTree(fixed.vertices)
    for _ in range(5):
        away, k = tree.query(move(moving.vertices), distance_upper_bound=0.05)
        near = np.isfinite(away)
        if not near.any():
            break
        gap = ((move(moving.vertices[near]) - fixed.vertices[k[near]]) * normals[k[near]]).sum(1)
        deep = float((-gap)[-gap > 0.8 * away[near]].max(initial=0.0))
        if deep > _MAX_DEPTH_M:
            step = deep - 0.5 * _MAX_DEPTH_M
        elif away.min() > 0.0015:
            step = -0.8 * float(away.min())
        else:
            break
        move = Move(move.rotation, move.translation + step * move.back, move.back)
    return move


def reach(
    pose: np.ndarray, person: Person, side: str, target: np.ndarray, rng: np.random.Generator,
    palm: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Pose an arm so that the hand's middle comes to a target, by random search from a raised arm.

    Args:
        pose: pose parameters (B, 4, 4), changed in place.
        person: whose arm it is.
        side: which arm.
        target: (3,) world, metres.
        rng: random numbers; the results vary as the ways to get there do.
        palm: (3,) unit vector that the palm shall roughly face.

    Returns:
        Distance from the target in metres.
    """
    model = body_model()
    spread = np.array([25.0, 25, 20, 25, 15, 6, 40])
    low = np.array([0.0, -50, -50, 0, -50, -22, -85])
    high = np.array([120.0, 50, 25, 115, 55, 18, 85])
    best, cost, found = float(np.inf), float(np.inf), rng.uniform(low, high)
    for step in range(70):
        trial = found if step == 0 else found + rng.normal(size=7) * spread * (1 - step / 80)
        trial = trial.clip(low, high)
        set_arm(model, pose, side, trial[:3], trial[3])
        set_wrist(model, pose, side, trial[4], trial[5], trial[6])
        joints = hand_joints(model, person, model.bones(person, pose, model.arms[side]), side)
        away = float(np.linalg.norm(joints[[0, 9, 10]].mean(0) - target))
        turned = 0.0 if palm is None else max(0.6 - float(hand_axes(joints, side)[2] @ palm), 0.0)
        if away + _PALM_M * turned < cost:
            best, cost, found = away, away + _PALM_M * turned, trial
        if cost < 0.015:
            break
    set_arm(model, pose, side, found[:3], found[3])
    set_wrist(model, pose, side, found[4], found[5], found[6])
    return float(best)
