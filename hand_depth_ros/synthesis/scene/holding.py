"""Holding views: a hand with a thing, often larger than itself and cut by the image's edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.people.arms import arms_collide, random_arm
from hand_depth_ros.synthesis.people.body import SIDES, body_model, hand_joints
from hand_depth_ros.synthesis.people.people import (
    random_accessories,
    random_light,
    random_look,
    rng_for,
    wardrobe,
    with_exposure,
    with_sleeves,
)
from hand_depth_ros.synthesis.people.poses import set_hand
from hand_depth_ros.synthesis.render.raycast import Pinhole, raycast
from hand_depth_ros.synthesis.scene.assets import Assets
from hand_depth_ros.synthesis.scene.held import in_the_way, in_world, random_held
from hand_depth_ros.synthesis.scene.two_hands import reach
from hand_depth_ros.synthesis.scene.views import (
    VIEWS_PER_PERSON,
    View,
    cull,
    look_at,
    make_view,
    visible_fraction,
)
from hand_depth_ros.synthesis.surface import OBJECT, join

_TRIES = 400
_MIN_VISIBLE = 0.2  # of the hand in the image, were nothing before it
_MIN_PIXELS = 0.004  # of the image
_MIN_NEAR_M = 0.08
_MIN_SHOWN, _SHOWN = 0.3, 0.9  # so much of the thing, of the hand's pixels, is seen in so many views


@dataclass(frozen=True)
class _Camera:
    camera: Pinhole
    hide: tuple[str, ...]


def holding_view(seed: int, index: int, size: tuple[int, int], assets: Assets) -> View:
    """Return view `index`: somebody holds a thing, seen by them, by others or from anywhere."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    person, model = clothes.person, body_model()
    for attempt in range(_TRIES):
        rng = rng_for(seed, 21, index, attempt)
        side = SIDES[rng.integers(2)]
        other = SIDES[1 - SIDES.index(side)]
        grasp = random_held(person, assets.objects, rng)
        if grasp is None:
            continue
        pose = model.identity()
        random_arm(pose, other, person, rng, raised=rng.random() < 0.25)
        own = rng.random() < 0.5
        head = model.bones(person, pose)[model.index["head"], :3, 3]
        if own or rng.random() < 0.6:
            target = head + np.array(
                [rng.normal(0, 0.14), -rng.uniform(0.3, 0.6), -rng.uniform(-0.02, 0.4)]
            ) * (person.scale)
            if reach(pose, person, side, target, rng) > 0.05:
                continue
        else:
            random_arm(pose, side, person, rng, raised=True)
        set_hand(model, pose, side, grasp.angles)
        bones = model.bones(person, pose)
        if arms_collide(bones, person):
            continue
        solid = in_world(grasp, bones, person, side)
        thing = solid.surface(rng)
        if in_the_way(solid, thing, bones, person, side, other):
            continue
        joints = hand_joints(model, person, bones, side)
        shot = _shot(joints, thing.vertices, head, own, size, rng)
        if shot is None:
            continue
        look = with_sleeves(random_look(seed, who, rng), rng, assets.cloths)
        light = with_exposure(random_light(seed, who, rng), assets.exposure, rng)
        instances = {side: 1, other: 2}
        worn = random_accessories(seed * 1_000_003 + who, rng)
        figure = clothes.dressed(pose, look, instances, shot.hide, worn)
        surface = cull(join([figure.surface, thing]), shot.camera)
        hits = raycast(surface, shot.camera)
        hand = np.count_nonzero(hits.label == 1)
        if hand < _MIN_PIXELS * size[0] * size[1]:
            continue
        if np.count_nonzero(hits.label == OBJECT) < _MIN_SHOWN * hand and rng.random() < _SHOWN:
            continue
        if hits.depth[hits.depth > 0].min() < _MIN_NEAR_M:
            continue
        if visible_fraction(surface, shot.camera, hits, 1) < _MIN_VISIBLE:
            continue
        return make_view(
            index, seed, surface, shot.camera, look, light, hits, instances, figure.joints, person
        )
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")


def _shot(
    joints: np.ndarray, thing: np.ndarray, head: np.ndarray, own: bool, size: tuple[int, int],
    rng: np.random.Generator,
) -> _Camera | None:  # fmt: skip
    """Choose where a camera stands; None where it would see too little of the hand."""
    centre = joints.mean(0)
    middle = (centre + thing.mean(0)) / 2
    if own:
        eye = head + np.array([rng.normal(0, 0.03), -0.12, rng.uniform(0.0, 0.1)])
        hide: tuple[str, ...] = ("head",)
    else:
        spread = 35 if rng.random() < 0.65 else 120
        azimuth, height = np.radians(rng.normal(0, spread)), np.radians(rng.uniform(-25, 50))
        direction = np.array(
            [np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height)]
        )
        eye = centre + direction * np.exp(rng.uniform(np.log(0.3), np.log(1.3)))
        hide = ()
    away = float(np.linalg.norm(centre - eye))
    if away < 0.18 or np.linalg.norm(thing - eye, axis=1).min() < _MIN_NEAR_M:
        return None
    # The lens makes the hand 12 to 80 % of the image's height, within what lenses do.
    wanted = np.exp(rng.uniform(np.log(0.12), np.log(0.8))) * size[1]
    low, high = (size[0] / 2 / np.tan(np.radians(fov) / 2) for fov in (85, 32))
    f = float(np.clip(wanted / (0.16 / away), low, high))
    up = np.array([rng.normal(0, 0.12), rng.normal(0, 0.12), 1.0])
    offset = rng.normal(0, 0.16, 2) * np.array(size) / f * away
    camera = look_at(eye, middle, up, f, size)
    aim = middle + camera.rotation.T @ np.array([*offset, 0.0])
    camera = look_at(eye, aim, up, f, size)
    pixels = camera.project(joints)
    inside = ((pixels > 0) & (pixels < np.array(size) - 1)).all(1).mean()
    if camera.transform(joints)[:, 2].min() < 0.12 or inside < (0.95 if rng.random() < 0.6 else 0.35):
        return None
    return _Camera(camera, hide)
