"""Objects held in a scene, and the room that they leave for the person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hand_depth_ros.synthesis.people.arms import inside_body
from hand_depth_ros.synthesis.people.body import Person, body_model, hand_axes, hand_joints
from hand_depth_ros.synthesis.scene.grasp import Grasp, Solid
from hand_depth_ros.synthesis.scene.object_grasp import large_thing, object_grasp
from hand_depth_ros.synthesis.scene.objects import random_object
from hand_depth_ros.synthesis.scene.two_hands import arm_spheres
from hand_depth_ros.synthesis.surface import Surface

_OBJECT = 0.75  # fraction of held things that are textured objects, where there are some
_SMALL_M, _SKIP_SMALL = 0.04, 0.7  # what the hand hides is held less often
_ALLOWED_M = 0.006


def random_held(person: Person, objects: Sequence[Path], rng: np.random.Generator) -> Grasp | None:
    """Return a grasp of an object or of a plain thing; None where the hand cannot hold it."""
    if objects and rng.random() < _OBJECT:
        solid = random_object(objects, rng)
        while solid.half.max() < _SMALL_M and rng.random() < _SKIP_SMALL:
            solid = random_object(objects, rng)
        return object_grasp(body_model(), person, solid, rng)
    return object_grasp(body_model(), person, large_thing(rng), rng)


def in_the_way(
    solid: Solid, surface: Surface, bones: np.ndarray, person: Person, side: str, other: str
) -> bool:
    """Return whether a thing held by `side` is in the body or in an arm.

    surface: the solid's own.
    """
    if inside_body(bones, surface.vertices[::7], person.scale):
        return True
    own, own_radius = arm_spheres(bones, person, side)
    arm, arm_radius = arm_spheres(bones, person, other)
    own, own_radius = own[-7:-1], own_radius[-7:-1]  # the forearm: the hand itself has been checked
    gap = min((solid.distance(own) - own_radius).min(), (solid.distance(arm) - arm_radius).min())
    return float(gap) < -_ALLOWED_M


def in_world(grasp: Grasp, bones: np.ndarray, person: Person, side: str) -> Solid:
    """Return the held thing where the posed hand holds it."""
    joints = hand_joints(body_model(), person, bones, side)
    return grasp.thing.moved(hand_axes(joints, side), joints[0])
