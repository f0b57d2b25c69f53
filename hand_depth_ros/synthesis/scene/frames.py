"""Frames: an upper body with its hands, seen across a table or with the person's own eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.people.arms import arms_collide, random_arm
from hand_depth_ros.synthesis.people.body import SIDES, Person, body_model, hand_axes, hand_joints
from hand_depth_ros.synthesis.people.people import random_light, random_look, rng_for, wardrobe
from hand_depth_ros.synthesis.render.raycast import Pinhole, raycast
from hand_depth_ros.synthesis.scene.views import (
    VIEWS_PER_PERSON,
    View,
    cull,
    look_at,
    make_view,
    visible_fraction,
)

_TRIES = 8000
_OWN_EYES, _FRONT = 0.2, 0.65  # fractions of views; the rest is from anywhere around
_MIN_NEAR_M = 0.1
_MIN_VISIBLE = 0.5


@dataclass(frozen=True)
class _Posed:
    """A person in a pose. main: the hand that the view is about.

    shown: the hands that it must show.
    """

    pose: np.ndarray
    bones: np.ndarray
    joints: dict[str, np.ndarray]
    main: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class _Shot:
    """A camera, its place, the up of its image, and the parts of the body that are left out."""

    camera: Pinhole
    eye: np.ndarray
    up: np.ndarray
    hide: tuple[str, ...]


def frame_view(seed: int, index: int, size: tuple[int, int]) -> View:
    """Return view `index`: one or two hands 0.3-1.2 m away, seen by others or by the person."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    person = clothes.person
    for attempt in range(_TRIES):
        rng = rng_for(seed, 11, index, attempt)
        kind = rng_for(seed, 12, index).random()
        posed = _random_pose(person, rng)
        if posed is None:
            continue
        shot = _random_shot(posed, kind, size, rng)
        if not _in_frame(posed, shot, rng) or not _worth_showing(posed, shot, rng):
            continue
        look, light = random_look(seed, who, rng), random_light(seed, who, rng)
        instances = {side: 1 if side == posed.main else 2 for side in SIDES}
        figure = clothes.dressed(posed.pose, look, instances, shot.hide)
        surface = cull(figure.surface, shot.camera)
        hits = raycast(surface, shot.camera)
        if hits.depth[hits.depth > 0].min() < _MIN_NEAR_M or any(
            visible_fraction(surface, shot.camera, hits, instances[side]) < _MIN_VISIBLE
            for side in posed.shown
        ):
            continue
        return make_view(
            index, seed, surface, shot.camera, look, light, hits, instances, figure.joints, person
        )
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")


def _random_pose(person: Person, rng: np.random.Generator) -> _Posed | None:
    """Raise one arm or both; None where they are in the body or in each other."""
    model = body_model()
    main = SIDES[rng.integers(2)]
    other = SIDES[1 - SIDES.index(main)]
    pose = model.identity()
    two = rng.random() < 0.45
    random_arm(pose, main, person, rng, raised=True)
    if two:
        random_arm(pose, other, person, rng, raised=True)
    bones = model.bones(person, pose)
    if arms_collide(bones, person):
        return None
    joints = {side: hand_joints(model, person, bones, side) for side in SIDES}
    return _Posed(pose, bones, joints, main, (main, other) if two else (main,))


def _random_shot(posed: _Posed, kind: float, size: tuple[int, int], rng: np.random.Generator) -> _Shot:
    """Place a camera at the person's eyes, in front or anywhere around, by `kind` from 0 to 1."""
    centre = posed.joints[posed.main].mean(0)
    head = posed.bones[body_model().index["head"], :3, 3] + np.array([0, -0.03, 0.06])
    f = (size[0] / 2) / np.tan(np.radians(rng.uniform(50, 75)) / 2)
    principal = (size[0] / 2 - 0.5 + rng.normal(0, 4), size[1] / 2 - 0.5 + rng.normal(0, 4))
    hide: tuple[str, ...] = ()
    if kind < _OWN_EYES:
        eye = head + np.array([rng.normal(0, 0.02), -0.11, rng.uniform(0.0, 0.08)])
        aim = np.mean([posed.joints[s].mean(0) for s in posed.shown], 0) + rng.normal(0, 0.05, 3)
        hide = ("head",)
    else:
        spread_deg = 25 if kind < _OWN_EYES + _FRONT else 75
        azimuth, height = np.radians(rng.normal(0, spread_deg)), np.radians(rng.uniform(-20, 35))
        direction = np.array(
            [np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height)]
        )
        eye = centre + direction * np.exp(rng.uniform(np.log(0.32), np.log(1.2)))
        aim = centre + rng.uniform(0, 0.7) * (head - np.array([0, 0, 0.15]) - centre)
        aim = aim + rng.normal(0, 0.08, 3)
    up = np.array([rng.normal(0, 0.08), rng.normal(0, 0.08), 1.0])
    return _Shot(look_at(eye, aim, up, f, size, principal), eye, up, hide)


def _in_frame(posed: _Posed, shot: _Shot, rng: np.random.Generator) -> bool:
    """Return whether the hands are near enough and in the image; its edge may cut 15 % of them."""
    camera, ok = shot.camera, True
    for side in posed.shown:
        z = camera.transform(posed.joints[side])[:, 2]
        pixels = camera.project(posed.joints[side])
        inside = ((pixels > 0) & (pixels < np.array([camera.width, camera.height]) - 1)).all(1).mean()
        ok &= bool(z.min() > 0.2 and z.mean() < 1.35 and inside > (0.95 if rng.random() < 0.85 else 0.6))
    return ok


def _worth_showing(posed: _Posed, shot: _Shot, rng: np.random.Generator) -> bool:
    """Keep fewer of the hands that are seen edge-on or hang down: there would be too many."""
    axes = hand_axes(posed.joints[posed.main], posed.main)
    away = shot.eye - posed.joints[posed.main].mean(0)
    away = away / np.linalg.norm(away)
    edge_on = abs(axes[2] @ away) < 0.4 and rng.random() < 0.6
    return not (edge_on or (axes[1] @ shot.up < -0.3 and rng.random() < 0.7))
