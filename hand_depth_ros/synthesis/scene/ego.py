"""Ego views: own hands over a desk, from a camera at the head or the chest, or above the desk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.people.arms import arms_collide, random_arm
from hand_depth_ros.synthesis.people.body import SIDES, Person, body_model, bone, hand_joints
from hand_depth_ros.synthesis.people.dress import Figure
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
from hand_depth_ros.synthesis.scene.desk import clutter, desk_surface, desk_under
from hand_depth_ros.synthesis.scene.grasp import Grasp
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
from hand_depth_ros.synthesis.surface import Surface, join

_TRIES = 300
_DESK = 0.75  # fraction of views with a desk
_HOLDS = 0.45  # fraction of hands that hold something
_TWO = 0.6
_MIN_VISIBLE = 0.25
_MIN_PIXELS = 0.003
_MIN_NEAR_M = 0.1
_DOWN = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class _Busy:
    """A person at work. main: the hand with instance 1; busy: the hands that a view must show."""

    pose: np.ndarray
    bones: np.ndarray
    joints: dict[str, np.ndarray]
    main: str
    busy: tuple[str, ...]
    things: list[Surface]


def ego_view(seed: int, index: int, size: tuple[int, int], assets: Assets) -> View:
    """Return view `index`: one or two of one's own hands, busy in front of the body."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    person = clothes.person
    for attempt in range(_TRIES):
        rng = rng_for(seed, 22, index, attempt)
        busy = _random_busy(person, assets, rng)
        camera = None if busy is None else _camera(busy, person, size, rng)
        if busy is None or camera is None:
            continue
        look = with_sleeves(random_look(seed, who, rng), rng, assets.cloths)
        light = with_exposure(random_light(seed, who, rng), assets.exposure, rng)
        instances = {side: 1 if side == busy.main else 2 for side in SIDES}
        accessories = random_accessories(seed * 1_000_003 + who, rng)
        figure = clothes.dressed(busy.pose, look, instances, ("head",), accessories)
        things = busy.things
        if rng.random() < _DESK:
            things = things + _furniture(figure, things, person, assets, rng)
        surface = cull(join([figure.surface, *things]), camera)
        hits = raycast(surface, camera)
        if _shows_enough(surface, camera, hits, [instances[side] for side in busy.busy]):
            return make_view(
                index, seed, surface, camera, look, light, hits, instances, figure.joints, person
            )
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")


def _random_busy(person: Person, assets: Assets, rng: np.random.Generator) -> _Busy | None:
    """Pose a person at work; None where arms or held things are in the way of each other."""
    model = body_model()
    main = SIDES[rng.integers(2)]
    other = SIDES[1 - SIDES.index(main)]
    busy = (main, other) if rng.random() < _TWO else (main,)
    pose = model.identity()
    grasps = _busy_arms(pose, person, busy, assets, rng)
    if grasps is None:
        return None
    bones = model.bones(person, pose)
    if arms_collide(bones, person):
        return None
    solids = {side: in_world(grasp, bones, person, side) for side, grasp in grasps.items()}
    things = [solid.surface(rng) for solid in solids.values()]
    if any(
        in_the_way(solid, thing, bones, person, side, SIDES[1 - SIDES.index(side)])
        for (side, solid), thing in zip(solids.items(), things, strict=True)
    ):
        return None
    joints = {side: hand_joints(model, person, bones, side) for side in busy}
    return _Busy(pose, bones, joints, main, busy, things)


def _shows_enough(surface: Surface, camera: Pinhole, hits: Hits, instances: list[int]) -> bool:
    """Return whether enough of these hands is visible, and nothing is too near."""
    if hits.depth[hits.depth > 0].min() < _MIN_NEAR_M:
        return False
    pixels = _MIN_PIXELS * camera.width * camera.height
    return all(
        np.count_nonzero(hits.label == instance) >= pixels
        and visible_fraction(surface, camera, hits, instance) >= _MIN_VISIBLE
        for instance in instances
    )


def _busy_arms(
    pose: np.ndarray, person: Person, busy: tuple[str, ...], assets: Assets, rng: np.random.Generator
) -> dict[str, Grasp] | None:
    """Pose the arms: those that are busy reach in front of the body, some with a thing.

    Return None where one cannot.
    """
    model = body_model()
    bones = model.bones(person, pose)
    chest = bones[model.index["spine01"], :3, 3]
    grasps: dict[str, Grasp] = {}
    for side in SIDES:
        random_arm(pose, side, person, rng)
        if side not in busy:
            continue
        grasp = random_held(person, assets.objects, rng) if rng.random() < _HOLDS else None
        sign = -1.0 if side == "right" else 1.0
        target = chest + person.scale * np.array(
            [sign * rng.uniform(-0.05, 0.27), -rng.uniform(0.3, 0.55), rng.uniform(-0.3, 0.05)]
        )
        palm = _DOWN if grasp is None and rng.random() < 0.65 else None
        if reach(pose, person, side, target, rng, palm) > 0.07:
            return None
        if grasp is not None:
            set_hand(model, pose, side, grasp.angles)
            grasps[side] = grasp
    return grasps


def _furniture(
    figure: Figure, held: list[Surface], person: Person, assets: Assets, rng: np.random.Generator
) -> list[Surface]:
    """Return a desk just below arms and held things, and what stands on it."""
    spine = figure.bones[body_model().index["spine01"], :3, 3]
    front = float(spine[1]) - rng.uniform(0.2, 0.28) * person.scale
    points = np.concatenate([figure.surface.vertices, *[thing.vertices for thing in held]])
    low = float(spine[2]) - 0.75 * person.scale  # legs are not on a desk
    points = points[(points[:, 1] < front) & (points[:, 2] > low)]
    if not len(points):
        return []
    top, desk = desk_under(points, front, rng)
    return [desk_surface(desk, rng), *clutter(desk, top, points, assets.objects, rng)]


def _camera(busy: _Busy, person: Person, size: tuple[int, int], rng: np.random.Generator) -> Pinhole | None:
    """Choose a camera at the forehead, the chest, above the desk or over a shoulder.

    Return None if it misses a hand.
    """
    model = body_model()
    bones, joints = busy.bones, busy.joints
    head, chest = (bones[model.index[name], :3, 3] for name in ("head", "spine01"))
    middle = np.mean([j.mean(0) for j in joints.values()], 0)
    kind = rng.random()
    if kind < 0.55:
        eye = head + np.array([rng.normal(0, 0.03), -rng.uniform(0.1, 0.16), rng.uniform(0.0, 0.14)])
    elif kind < 0.75:
        eye = chest + person.scale * np.array(
            [rng.normal(0, 0.05), -rng.uniform(0.2, 0.28), rng.uniform(0, 0.2)]
        )
    elif kind < 0.88:
        eye = middle + np.array([rng.normal(0, 0.1), rng.normal(0.05, 0.12), rng.uniform(0.35, 0.9)])
    else:
        shoulder = bones[model.index[bone("upperarm01", SIDES[rng.integers(2)])], :3, 3]
        eye = shoulder + np.array([rng.normal(0, 0.08), rng.uniform(-0.1, 0.1), rng.uniform(0.15, 0.35)])
    fov = np.radians(rng.uniform(55, 105) if kind < 0.75 else rng.uniform(45, 80))
    f = float(size[0] / 2 / np.tan(fov / 2))
    aim = middle + rng.normal(0, [0.1, 0.12, 0.05])
    up = np.array([rng.normal(0, 0.06), -1.0, 0.6]) if kind < 0.9 else np.array([0.0, 0.0, 1.0])
    camera = look_at(eye, aim, up, f, size)
    need = 0.9 if rng.random() < 0.7 else 0.45
    for j in joints.values():
        z = camera.transform(j)[:, 2]
        pixels = camera.project(j)
        inside = ((pixels > 0) & (pixels < np.array(size) - 1)).all(1).mean()
        if z.min() < 0.12 or inside < need:
            return None
    return camera
