"""Holding views: a hand with a thing, often larger than itself and cut by the image's edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.people.arms import arms_collide, random_arm
from hand_depth_ros.synthesis.people.body import SIDES, Person, body_model, hand_joints
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
from hand_depth_ros.synthesis.render.raycast import Hits, Pinhole, raycast
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
from hand_depth_ros.synthesis.surface import OBJECT, Surface, join

_TRIES = 400
_MIN_VISIBLE = 0.2  # of the hand in the image, were nothing before it
_MIN_PIXELS = 0.004  # of the image
_MIN_NEAR_M = 0.08
_MIN_THING, _THING_SHOWN = 0.3, 0.9  # in 90 % of views the thing has 0.3 of the hand's pixels
_OWN_EYES = 0.5  # fraction of views
_MAX_MISS_M = 0.05  # of the point that the hand reaches for


@dataclass(frozen=True)
class _Holder:
    """A person in a pose with a thing. own: the person is the one who looks."""

    pose: np.ndarray
    joints: np.ndarray
    side: str
    other: str
    head: np.ndarray
    thing: Surface
    own: bool


@dataclass(frozen=True)
class _Shot:
    """A camera, and the parts of the body that are left out."""

    camera: Pinhole
    hide: tuple[str, ...]


def holding_view(seed: int, index: int, size: tuple[int, int], assets: Assets) -> View:
    """Return view `index`: somebody holds a thing, seen by them, by others or from anywhere."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    for attempt in range(_TRIES):
        rng = rng_for(seed, 21, index, attempt)
        holder = _random_holder(clothes.person, assets, rng)
        shot = None if holder is None else _random_shot(holder, size, rng)
        if holder is None or shot is None:
            continue
        look = with_sleeves(random_look(seed, who, rng), rng, assets.cloths)
        light = with_exposure(random_light(seed, who, rng), assets.exposure, rng)
        instances = {holder.side: 1, holder.other: 2}
        accessories = random_accessories(seed * 1_000_003 + who, rng)
        figure = clothes.dressed(holder.pose, look, instances, shot.hide, accessories)
        surface = cull(join([figure.surface, holder.thing]), shot.camera)
        hits = raycast(surface, shot.camera)
        if _shows_enough(surface, shot.camera, hits, rng):
            return make_view(
                index, seed, surface, shot.camera, look, light, hits, instances, figure.joints,
                clothes.person,
            )  # fmt: skip
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")


def _random_holder(person: Person, assets: Assets, rng: np.random.Generator) -> _Holder | None:
    """Pose a person who holds a thing; None where it cannot be held or is in the way."""
    model = body_model()
    side = SIDES[rng.integers(2)]
    other = SIDES[1 - SIDES.index(side)]
    grasp = random_held(person, assets.objects, rng)
    if grasp is None:
        return None
    pose = model.identity()
    random_arm(pose, other, person, rng, raised=rng.random() < 0.25)
    own = rng.random() < _OWN_EYES
    head = model.bones(person, pose)[model.index["head"], :3, 3]
    if own or rng.random() < 0.6:  # held before the head or the chest
        offset = np.array([rng.normal(0, 0.14), -rng.uniform(0.3, 0.6), -rng.uniform(-0.02, 0.4)])
        if reach(pose, person, side, head + offset * person.scale, rng) > _MAX_MISS_M:
            return None
    else:
        random_arm(pose, side, person, rng, raised=True)
    set_hand(model, pose, side, grasp.angles)
    bones = model.bones(person, pose)
    if arms_collide(bones, person):
        return None
    solid = in_world(grasp, bones, person, side)
    thing = solid.surface(rng)
    if in_the_way(solid, thing, bones, person, side, other):
        return None
    return _Holder(pose, hand_joints(model, person, bones, side), side, other, head, thing, own)


def _shows_enough(surface: Surface, camera: Pinhole, hits: Hits, rng: np.random.Generator) -> bool:
    """Return whether enough of the hand and the thing is visible, and nothing is too near."""
    hand = np.count_nonzero(hits.label == 1)
    if hand < _MIN_PIXELS * camera.width * camera.height:
        return False
    if np.count_nonzero(hits.label == OBJECT) < _MIN_THING * hand and rng.random() < _THING_SHOWN:
        return False
    if hits.depth[hits.depth > 0].min() < _MIN_NEAR_M:
        return False
    return visible_fraction(surface, camera, hits, 1) >= _MIN_VISIBLE


def _random_shot(holder: _Holder, size: tuple[int, int], rng: np.random.Generator) -> _Shot | None:
    """Choose where a camera stands; None where it would see too little of the hand."""
    joints, thing, head = holder.joints, holder.thing.vertices, holder.head
    centre = joints.mean(0)
    middle = (centre + thing.mean(0)) / 2
    if holder.own:
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
    return _Shot(camera, hide)
