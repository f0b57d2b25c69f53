"""Grasps of given solids, from pinch to power grip, also of solids larger than the hand.

Coordinates as in `grasp`: the origin is the wrist joint; axes towards the thumb's side, the
fingers, out of the palm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hand_depth_ros.synthesis.people.body import BodyModel, Person
from hand_depth_ros.synthesis.people.poses import HandAngles, gesture, hand_spheres, penetration
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.scene.grasp import Grasp, Solid, local_joints
from hand_depth_ros.synthesis.scene.things import Thing

_STEPS = 10
_MAX_DEPTH_M = 0.005  # flesh gives way
_CONTACT_M = 0.006
_TRIES = 10


def _angles(thumb: tuple, finger: tuple, spread: tuple = (-5.0, -1.0, 3.0, 7.0)) -> HandAngles:
    return HandAngles(np.array(thumb, float), np.tile(np.array(finger, float), (4, 1)), np.array(spread))


_POWER_OPEN = _angles((-10, -16, -8, -12), (-8, 2, 0))
_POWER_SHUT = _angles((22, -16, 38, 40), (66, 90, 54), (2, 0, 0, -2))
_CLAMP_OPEN = _angles((2, -25, -10, -15), (45, 4, 2))
_CLAMP_SHUT = _angles((22, -18, 30, 30), (68, 55, 35), (1, 0, 0, -1))
_CURLED = (70.0, 80.0, 45.0)


def object_grasp(model: BodyModel, person: Person, solid: Solid, rng: np.random.Generator) -> Grasp | None:
    """Return a hand that holds `solid` in one of the ways its size allows.

    Return None where none fitted.
    """
    length = person.hand_length_m
    thin = float(np.sort(solid.half)[0]) * 2
    ways: list[Callable[..., Grasp | None]] = []
    ways += [_power] * 3 if np.sort(solid.half)[1] * 2 < 0.62 * length else []
    ways += [_clamped] * 3 if thin < 0.5 * length else [_power]
    ways += [_pinched] * 2 if thin < 0.22 * length else []
    ways += [_carried] if solid.half.max() > 0.25 * length else []
    for _ in range(_TRIES):
        grasp = ways[int(rng.integers(len(ways)))](model, person, solid, rng)
        if grasp is not None:
            return grasp
    return None


def large_thing(rng: np.random.Generator) -> Thing:
    """Return a plain solid that is mostly larger than a hand.

    Phone, book, tablet, box, tray, large ball, roll.
    """
    kind = int(rng.integers(6))
    if kind == 0:  # phone
        half = np.array([rng.uniform(0.033, 0.041), rng.uniform(0.068, 0.085), rng.uniform(0.0035, 0.006)])
    elif kind == 1:  # book, tablet, folder
        half = np.array([rng.uniform(0.06, 0.13), rng.uniform(0.09, 0.18), rng.uniform(0.003, 0.02)])
    elif kind in (2, 3):  # box
        half = rng.uniform(0.03, 0.14, 3)
        half[rng.integers(3)] = rng.uniform(0.015, 0.045)
    elif kind == 4:  # ball
        return Thing("ball", np.full(3, rng.uniform(0.03, 0.13)), np.eye(3), np.zeros(3))
    else:  # bottle, pipe, roll
        radius = rng.uniform(0.012, 0.06)
        half = np.array([radius, radius, rng.uniform(0.06, 0.2)])
        return Thing("cylinder", half, np.eye(3), np.zeros(3))
    return Thing("box", half, np.eye(3), np.zeros(3))


def _axes_to(order: np.ndarray, frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a rotation that lays the solid's axes `order` along the rows of `frame` (3, 3)."""
    turn = np.zeros((3, 3))
    for axis, direction in zip(order, frame, strict=True):
        turn[:, axis] = direction * rng.choice([-1.0, 1.0])
    if np.linalg.det(turn) < 0:
        turn[:, order[2]] *= -1
    return turn


def _approach(
    solid: Solid, direction: np.ndarray, points: np.ndarray, radius: np.ndarray, limit: float
) -> Solid | None:
    """Move `solid` along `direction` until it touches a ball.

    Return None when it passes `limit` metres without.
    """
    moved = 0.0
    for _ in range(40):
        gap = float((solid.distance(points) - radius).min())
        if gap < 0.001:
            return solid
        step = max(gap, 0.001)
        moved += step
        if moved > limit:
            return None
        solid = solid.placed(solid.rotation, solid.centre + direction * step)
    return solid


def _close(
    model: BodyModel, person: Person, solid: Solid, opened: HandAngles, shut: HandAngles
) -> HandAngles:
    """Close each finger on its own from `opened` towards `shut` until it touches."""
    closed = np.zeros(5)
    for step in range(1, _STEPS + 1):
        joints = local_joints(model, person, opened.interpolate(shut, step / _STEPS))
        points, radius, owner = hand_spheres(joints, person.hand_length_m)
        free = solid.distance(points) > radius - 0.5 * _MAX_DEPTH_M
        for finger in range(5):
            if closed[finger] == step - 1 and free[owner == finger].all():
                closed[finger] = step
        if closed.max() < step:
            break
    ends = [opened.interpolate(shut, t) for t in closed / _STEPS]
    fingers = np.stack([ends[f + 1].fingers[f] for f in range(4)])
    spread = np.array([ends[f + 1].spread[f] for f in range(4)])
    return HandAngles(ends[0].thumb, fingers, spread)


def _checked(
    model: BodyModel, person: Person, angles: HandAngles, solid: Solid, thumb: bool, fingers: int
) -> Grasp | None:
    """Return the grasp if so many fingers touch, and nothing is inside anything."""
    joints = local_joints(model, person, angles)
    points, radius, owner = hand_spheres(joints, person.hand_length_m)
    gap = solid.distance(points) - radius
    touching = [gap[owner == finger].min() < _CONTACT_M for finger in range(5)]
    if gap.min() < -_MAX_DEPTH_M or sum(touching[1:]) < fingers or (thumb and not touching[0]):
        return None
    return Grasp(angles, solid) if penetration(joints, person.hand_length_m) < 0.62 else None


def _power(model: BodyModel, person: Person, solid: Solid, rng: np.random.Generator) -> Grasp | None:
    """Hold it against the palm, the longest side mostly across the hand.

    All fingers close around it.
    """
    length, half = person.hand_length_m, solid.half
    order = np.argsort(half)[::-1] if rng.random() < 0.75 else rng.permutation(3)
    frame = rotation(np.radians(rng.normal(0, [7, 7, 16])))[[0, 1, 2]].T
    turn = _axes_to(order, frame, rng)
    points, radius, _ = hand_spheres(local_joints(model, person, _POWER_OPEN), length)
    centre = np.array([0.0, rng.uniform(0.38, 0.52) * length, 0.0])
    centre[0] += rng.uniform(-0.7, 0.7) * max(half[order[0]] - 0.2 * length, 0)
    centre[2] = half.max() + 0.3 * length
    placed = _approach(solid.placed(turn, centre), np.array([0, 0, -1.0]), points, radius, 1.0)
    if placed is None:
        return None
    angles = _close(model, person, placed, _POWER_OPEN, _POWER_SHUT)
    return _checked(model, person, angles, placed, thumb=False, fingers=3)


def _clamped(model: BodyModel, person: Person, solid: Solid, rng: np.random.Generator) -> Grasp | None:
    """Hold an edge between the thumb and the fingers: boxes, books, plates, cans from the side."""
    length, half = person.hand_length_m, solid.half
    thin = half[half * 2 < 0.5 * length]
    if not len(thin):
        return None
    axis = int(np.flatnonzero(half == rng.choice(thin))[0])
    rest = rng.permutation([k for k in range(3) if k != axis])
    joints = local_joints(model, person, _CLAMP_OPEN)
    tips = joints[[8, 12, 16]].mean(0)
    across = tips - joints[4]
    across = across / np.linalg.norm(across)
    middle = (tips + joints[4]) / 2
    outwards = middle - joints[[5, 9, 0]].mean(0)
    outwards = outwards - outwards @ across * across
    outwards = outwards / np.linalg.norm(outwards)
    tilt = rotation(across * np.radians(rng.normal(0, 30)))
    frame = tilt @ np.stack([across, outwards, np.cross(across, outwards)]).T
    turn = _axes_to(np.array([axis, *rest]), frame.T, rng)
    side = frame[:, 2] * rng.uniform(-0.8, 0.8) * max(half[rest[1]] - 0.15 * length, 0)
    points, radius, _ = hand_spheres(joints, length)
    reach = float(np.linalg.norm(half[rest]))
    placed = _approach(
        solid.placed(turn, middle + side + outwards * (reach + 0.1 * length)), -outwards, points, radius,
        reach + 0.35 * length,
    )  # fmt: skip
    if placed is None:
        return None
    # Not always to the web of the thumb: finger ends alone may hold it.
    room = float((placed.centre - middle) @ outwards)
    if rng.random() < 0.5 and room < reach:
        placed = placed.placed(turn, placed.centre + outwards * rng.uniform(0, 0.12) * length)
    angles = _close(model, person, placed, _CLAMP_OPEN, _CLAMP_SHUT)
    return _checked(model, person, angles, placed, thumb=True, fingers=2)


def _pinched(model: BodyModel, person: Person, solid: Solid, rng: np.random.Generator) -> Grasp | None:
    """Hold it between the ends of thumb and index, at any place along it."""
    length, half = person.hand_length_m, solid.half
    axis = int(np.argmin(half))
    rest = rng.permutation([k for k in range(3) if k != axis])
    opened = gesture("pinch").interpolate(_CLAMP_OPEN, 0.9)
    shut = gesture(("pinch", "ok", "pen")[rng.integers(3)])
    if rng.random() < 0.5:  # the other fingers curl away
        opened, shut = (_curled(a) for a in (opened, shut))
    wanted = 2 * half[axis] + 0.074 * length
    best = None
    for t in np.linspace(0, 1, 12):
        joints = local_joints(model, person, opened.interpolate(shut, t))
        gap = float(np.linalg.norm(joints[8] - joints[4]))
        if best is None or abs(gap - wanted) < best[0]:
            best = (abs(gap - wanted), t, joints)
    assert best is not None
    _, t, joints = best
    across = joints[8] - joints[4]
    across = across / np.linalg.norm(across)
    along = np.cross(across, joints[8] - joints[7])
    along = rotation(across * rng.uniform(-np.pi, np.pi)) @ (along / np.linalg.norm(along))
    turn = _axes_to(np.array([axis, *rest]), np.stack([across, along, np.cross(across, along)]), rng)
    centre = (joints[8] + joints[4]) / 2
    offset = turn @ (half * rng.uniform(-0.75, 0.75, 3) * (np.arange(3) != axis))
    placed = solid.placed(turn, centre + offset)
    wider = opened.interpolate(shut, max(t - 0.25, 0))
    angles = _close(model, person, placed, wider, shut)
    return _checked(model, person, angles, placed, thumb=True, fingers=1)


def _curled(angles: HandAngles) -> HandAngles:
    fingers = angles.fingers.copy()
    fingers[1:] = _CURLED
    return HandAngles(angles.thumb, fingers, angles.spread)


def _carried(model: BodyModel, person: Person, solid: Solid, rng: np.random.Generator) -> Grasp | None:
    """Lay it on the open hand, or the hand flat on it."""
    length, half = person.hand_length_m, solid.half
    order = np.argsort(half)[::-1]
    angle = rng.uniform(-np.pi, np.pi)
    frame = rotation(np.array([0, 0, angle]))
    turn = _axes_to(order, frame.T, rng)
    opened = gesture("flat").interpolate(gesture("relaxed"), rng.uniform(0, 1))
    points, radius, _ = hand_spheres(local_joints(model, person, opened), length)
    offset = frame[:, :2] @ (half[order[:2]] * rng.uniform(-0.5, 0.5, 2))
    centre = np.array([0.0, 0.6 * length, half.max() + 0.3 * length]) + offset
    placed = _approach(solid.placed(turn, centre), np.array([0, 0, -1.0]), points, radius, 1.0)
    return None if placed is None else _checked(model, person, opened, placed, thumb=False, fingers=1)
