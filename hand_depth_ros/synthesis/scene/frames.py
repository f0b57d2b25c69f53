"""Frames: an upper body with its hands, as a camera across the table or the person's own eyes see it. numpy only."""

from __future__ import annotations

import numpy as np

from hand_depth_ros.synthesis.people.arms import arms_collide, random_arm
from hand_depth_ros.synthesis.people.body import SIDES, body_model, hand_axes, hand_joints
from hand_depth_ros.synthesis.people.people import random_light, random_look, rng_for, wardrobe
from hand_depth_ros.synthesis.render.raycast import raycast
from hand_depth_ros.synthesis.scene.views import (
    VIEWS_PER_PERSON,
    View,
    cull,
    look_at,
    make_view,
    visible_fraction,
)

_TRIES = 8000


def frame_view(seed: int, index: int, size: tuple[int, int]) -> View:
    """An upper body with one or two hands 0.3-1.2 m away, seen by somebody else or by the person's own eyes."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    person, model = clothes.person, body_model()
    for attempt in range(_TRIES):
        rng = rng_for(seed, 11, index, attempt)
        kind = rng_for(seed, 12, index).random()
        main = SIDES[rng.integers(2)]
        other = SIDES[1 - SIDES.index(main)]
        pose = model.identity()
        two = rng.random() < 0.45
        random_arm(pose, main, person, rng, raised=True)
        if two:
            random_arm(pose, other, person, rng, raised=True)
        bones = model.bones(person, pose)
        if arms_collide(bones, person):
            continue
        joints = {side: hand_joints(model, person, bones, side) for side in SIDES}
        centre = joints[main].mean(0)
        head = bones[model.index["head"], :3, 3] + np.array([0, -0.03, 0.06])
        half = (size[0] / 2) / np.tan(np.radians(rng.uniform(50, 75)) / 2)
        wanted = [main, other] if two else [main]
        principal = (size[0] / 2 - 0.5 + rng.normal(0, 4), size[1] / 2 - 0.5 + rng.normal(0, 4))
        if kind < 0.2:  # own eyes
            eye = head + np.array([rng.normal(0, 0.02), -0.11, rng.uniform(0.0, 0.08)])
            aim = np.mean([joints[s].mean(0) for s in wanted], 0) + rng.normal(0, 0.05, 3)
            hide: tuple[str, ...] = ("head",)
        else:
            spread = 25 if kind < 0.85 else 75
            azimuth, height = np.radians(rng.normal(0, spread)), np.radians(rng.uniform(-20, 35))
            direction = np.array(
                [np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height)]
            )
            distance = np.exp(rng.uniform(np.log(0.32), np.log(1.2)))
            eye = centre + direction * distance
            aim = (
                centre
                + rng.uniform(0, 0.7) * (head - np.array([0, 0, 0.15]) - centre)
                + rng.normal(0, 0.08, 3)
            )
            hide = ()
        up = np.array([rng.normal(0, 0.08), rng.normal(0, 0.08), 1.0])
        camera = look_at(eye, aim, up, half, size, principal)
        ok = True
        for side in wanted:
            z = camera.transform(joints[side])[:, 2]
            pixels = camera.project(joints[side])
            inside = ((pixels > 0) & (pixels < np.array(size) - 1)).all(1).mean()
            ok &= bool(z.min() > 0.2 and z.mean() < 1.35 and inside > (0.95 if rng.random() < 0.85 else 0.6))
        if not ok:
            continue
        axes = hand_axes(joints[main], main)
        away = (eye - centre) / np.linalg.norm(eye - centre)
        if (abs(axes[2] @ away) < 0.4 and rng.random() < 0.6) or (axes[1] @ up < -0.3 and rng.random() < 0.7):
            continue
        look, light = random_look(seed, who, rng), random_light(seed, who, rng)
        instances = {main: 1, other: 2}
        figure = clothes.dressed(pose, look, instances, hide)
        surface = cull(figure.surface, camera)
        hits = raycast(surface, camera)
        if hits.depth[hits.depth > 0].min() < 0.1 or any(
            visible_fraction(surface, camera, hits, instances[s]) < 0.5 for s in wanted
        ):
            continue
        return make_view(index, seed, surface, camera, look, light, hits, instances, figure.joints, person)
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")
