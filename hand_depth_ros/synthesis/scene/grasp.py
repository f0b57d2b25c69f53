"""Hands that hold, pinch or press a thing: fingers close around it until they touch.

Everything here is in the hand's own coordinates: the origin is the wrist joint, the axes point
towards the thumb's side, the fingers, and out of the palm; so one result serves both hands. numpy
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hand_depth_ros.synthesis.people.body import BodyModel, Person, hand_axes
from hand_depth_ros.synthesis.people.poses import (
    HandAngles,
    gesture,
    hand_spheres,
    penetration,
    resting_hand_joints,
)
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.scene.things import Thing
from hand_depth_ros.synthesis.surface import Surface

_STEPS = 12
_MAX_DEPTH_M = 0.004  # flesh gives way
_TRIES = 12
_OPEN = HandAngles(
    np.array([-6.0, -6, -8, -12]), np.tile([-12.0, -4, -3], (4, 1)), np.array([-8.0, -1, 4, 10])
)
_SHUT = HandAngles(np.array([26.0, -14, 40, 42]), np.tile([66.0, 90, 54], (4, 1)), np.array([2.0, 0, 0, -2]))


class Solid(Protocol):
    """A thing that a hand can hold: a `Thing` or a `MeshThing`."""

    @property
    def half(self) -> np.ndarray:
        """(3,) half extents along its own axes, metres."""

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) columns are its axes."""

    @property
    def centre(self) -> np.ndarray:
        """(3,) metres."""

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) metres from points (N, 3) to the surface, negative inside."""

    def placed(self, rotation: np.ndarray, centre: np.ndarray) -> Solid:
        """Return the same solid elsewhere."""

    def moved(self, axes: np.ndarray, origin: np.ndarray) -> Solid:
        """Convert from coordinates along the rows of `axes` (3, 3) around `origin`."""

    def surface(self, rng: np.random.Generator) -> Surface:
        """Return its labelled triangles."""


@dataclass(frozen=True)
class Grasp:
    """A hand's pose, and the thing in that hand's coordinates."""

    angles: HandAngles
    thing: Solid


def random_grasp(model: BodyModel, person: Person, rng: np.random.Generator) -> Grasp | None:
    """Return a thing in the fist, in a pinch, under the hand or under a finger.

    Return None where none fitted.
    """
    for _ in range(_TRIES):
        make = (_held, _held, _held, _pinched, _pinched, _pressed, _touched)[rng.integers(7)]
        grasp = make(model, person, rng)
        joints = local_joints(model, person, grasp.angles)
        points, radius, _ = hand_spheres(joints, person.hand_length_m)
        deep = (radius - grasp.thing.distance(points)).max()
        if -0.006 < deep < _MAX_DEPTH_M and penetration(joints, person.hand_length_m) < 0.6:
            return grasp
    return None


def local_joints(model: BodyModel, person: Person, angles: HandAngles) -> np.ndarray:
    """Return the joints (21, 3) in the hand's own coordinates."""
    joints = resting_hand_joints(model, person, angles)
    return (joints - joints[0]) @ hand_axes(joints, "right").T


def _random_thing(rng: np.random.Generator, thickest: float) -> Thing:
    """Return a thing of everyday size at the origin, its longest side along z."""
    kind = ("ball", "cylinder", "cylinder", "box", "box")[rng.integers(5)]
    r = rng.uniform(0.4, 1.0) * thickest
    if kind == "ball":
        half = np.full(3, max(r, 0.018))
    elif kind == "cylinder":
        half = np.array([r, r, rng.uniform(0.03, 0.12)])
    else:
        half = np.array([rng.uniform(0.5, 1.4) * r, rng.uniform(0.3, 1.0) * r, rng.uniform(0.03, 0.1)])
    return Thing(kind, half, np.eye(3), np.zeros(3))


def _held(model: BodyModel, person: Person, rng: np.random.Generator) -> Grasp:
    """Hold a thing against the palm; each finger closes on its own until it touches."""
    length = person.hand_length_m
    thing = _random_thing(rng, 0.19 * length)
    joints = local_joints(model, person, _OPEN)
    across = rotation(np.radians(rng.normal(0, [6, 6, 14])))
    # own axes: x along the fingers, y out of the palm, z across the hand
    turn = across @ np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    knuckles = joints[[5, 9, 13, 17]].mean(0)
    middle = knuckles * rng.uniform(0.8, 1.05)
    middle[0] += rng.normal(0, 0.15) * thing.half[2]
    middle[2] = knuckles[2] * 0.6 + 0.056 * length + thing.half[1]
    thing = Thing(thing.kind, thing.half, turn, middle)
    closed = np.full(5, -1)
    for step in range(_STEPS + 1):
        points, radius, owner = hand_spheres(
            local_joints(model, person, _OPEN.interpolate(_SHUT, step / _STEPS)), length
        )
        free = thing.distance(points) > radius - 0.5 * _MAX_DEPTH_M
        for finger in range(5):
            if closed[finger] == step - 1 and free[owner == finger].all():
                closed[finger] = step
    t = np.maximum(closed, 0) / _STEPS
    ends = [_OPEN.interpolate(_SHUT, x) for x in t]
    lazy = rng.random(4) < 0.08  # a finger that stays off
    fingers = np.stack([_OPEN.fingers[f] if lazy[f] else ends[f + 1].fingers[f] for f in range(4)])
    spread = np.array([ends[f + 1].spread[f] for f in range(4)])
    return Grasp(HandAngles(ends[0].thumb, fingers, spread), thing)


def _pinched(model: BodyModel, person: Person, rng: np.random.Generator) -> Grasp:
    """Hold a card, a stick or a bead between the ends of thumb and index."""
    names = ("pinch", "ok", "pen")
    angles = gesture(names[rng.integers(3)])
    angles = HandAngles(angles.thumb, angles.fingers + rng.normal(0, 3, (4, 3)), angles.spread)
    joints = local_joints(model, person, angles)
    thumb, index = joints[4], joints[8]
    gap = index - thumb
    room = max(float(np.linalg.norm(gap)) - 0.078 * person.hand_length_m, 0.002)
    y = gap / np.linalg.norm(gap)
    along = rotation(y * rng.uniform(-np.pi, np.pi)) @ np.cross(y, np.cross(joints[8] - joints[7], y))
    z = along / np.linalg.norm(along)
    turn = np.stack([np.cross(y, z), y, z], 1)
    half = min(room / 2, 0.02)
    kind = ("ball", "cylinder", "box")[rng.integers(3)]
    if kind == "ball":
        size = np.full(3, half)
    elif kind == "cylinder":
        size = np.array([half, half, rng.uniform(0.02, 0.08)])
    else:
        size = np.array([rng.uniform(0.01, 0.05), half, rng.uniform(0.02, 0.07)])
    middle = (thumb + index) / 2 + z * rng.uniform(-0.5, 0.5) * (size[2] if kind != "ball" else 0)
    return Grasp(angles, Thing(kind, size, turn, middle))


def _against(
    model: BodyModel, person: Person, angles: HandAngles, kind: str, half: np.ndarray, turn: np.ndarray,
    aside: np.ndarray, which: np.ndarray,
) -> Grasp:  # fmt: skip
    """Move a thing along its y axis, towards the hand, until it touches the fingers `which`."""
    joints = local_joints(model, person, angles)
    points, radius, owner = hand_spheres(joints, person.hand_length_m)
    y = turn[:, 1]
    near = np.isin(owner, which)
    lowest = (points[near] @ y - radius[near]).min()
    middle = points[near].mean(0) + aside
    middle = middle + y * (lowest + 0.001 - half[1] - middle @ y)
    return Grasp(angles, Thing(kind, half, turn, middle))


def _pressed(model: BodyModel, person: Person, rng: np.random.Generator) -> Grasp:
    """Press the flat hand on a table, a box or a book."""
    bend = rng.uniform(0, 1)
    angles = gesture("flat").interpolate(gesture("relaxed"), bend)
    angles = HandAngles(
        angles.thumb, angles.fingers + rng.normal(0, 3, (4, 3)), angles.spread + rng.normal(0, 4)
    )
    half = np.array([rng.uniform(0.03, 0.3), rng.uniform(0.005, 0.05), rng.uniform(0.04, 0.3)])
    turn = rotation(np.radians([rng.normal(0, 4) + 10 * bend, rng.normal(0, 4), rng.uniform(-180, 180)]))
    turn = (
        turn @ np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]) @ np.diag([1.0, -1, -1])
    )  # y: out of the back of the hand
    aside = turn @ (rng.uniform(-0.5, 0.5, 3) * half * [1, 0, 1])
    return _against(model, person, angles, "box", half, turn, aside, np.arange(6))


def _touched(model: BodyModel, person: Person, rng: np.random.Generator) -> Grasp:
    """Put a finger on a button, a box or a ball."""
    angles = gesture(("point", "gun", "relaxed")[rng.integers(3)])
    joints = local_joints(model, person, angles)
    y = joints[7] - joints[8] - np.array([0, 0, 0.02]) * rng.uniform(0, 3)
    y = y / np.linalg.norm(y)
    x = np.cross(y, rng.normal(size=3))
    x = x / np.linalg.norm(x)
    turn = np.stack([x, y, np.cross(x, y)], 1)
    half = np.array([rng.uniform(0.01, 0.1), rng.uniform(0.005, 0.05), rng.uniform(0.01, 0.1)])
    kind = "ball" if rng.random() < 0.25 else "box"
    half = np.full(3, half.max()) if kind == "ball" else half
    aside = turn @ (rng.uniform(-0.6, 0.6, 3) * half * [1, 0, 1]) * (kind == "box")
    tip = joints[8] - y * (0.038 * person.hand_length_m + half[1] - 0.001)
    return Grasp(angles, Thing(kind, half, turn, tip + aside))
