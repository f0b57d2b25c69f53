"""A short clip for the demo: one person counts, waves and points at the camera.

`hand-depth synth --kind clip --count 50 --seed 5 --samples 6 --fps 12 --out ...` made the bundled
clip.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from hand_depth_ros.synthesis.appearance import Light, Look
from hand_depth_ros.synthesis.people.body import body_model
from hand_depth_ros.synthesis.people.dress import Wardrobe
from hand_depth_ros.synthesis.people.poses import HandAngles, gesture, set_arm, set_hand, set_wrist
from hand_depth_ros.synthesis.render.raycast import Pinhole, raycast
from hand_depth_ros.synthesis.scene.views import View, cull, look_at, make_view

# Keys are spread evenly over the clip. Each: gestures of the right and left hand; the right arm's
# (raise, twist, adduct, elbow) and (flexion, deviation, turn of the wrist); the left's; degrees.
_KEYS: list[tuple[Any, ...]] = [
    ("relaxed", "relaxed", (34, 0, 22, 44), (-38, 8, -66), (5, -16, 24, 46), (-18, 12, -27)),
    ("open", "relaxed", (26, 0, 25, 52), (-42, 2, -66), (6, -16, 24, 48), (-16, 12, -25)),
    ("point", "relaxed", (40, -4, 27, 34), (-42, 12, -46), (8, -14, 22, 50), (-14, 10, -15)),
    ("two", "loose", (36, 8, 21, 39), (-42, 7, -79), (15, -10, 20, 53), (-17, -5, 40)),
    ("three", "open", (32, 4, 20, 44), (-42, -2, -80), (26, 0, 25, 50), (-42, 4, -64)),
    ("open", "open", (24, -2, 18, 50), (-42, -14, -78), (28, 2, 20, 48), (-42, -6, -72)),
    ("fist", "flat", (43, -8, 23, 27), (-31, 9, -11), (15, -10, 20, 53), (-17, -5, 70)),
    ("thumb up", "relaxed", (38, -16, 8, 42), (-30, -4, 18), (5, -16, 24, 46), (-18, 12, -27)),
]


def _between(a: Any, b: Any, t: float) -> Any:
    """Interpolate from ``a`` to ``b`` by ``t``: angles of a hand, or plain numbers."""
    return (
        a.interpolate(b, t)
        if isinstance(a, HandAngles)
        else np.asarray(a) + t * (np.asarray(b, float) - np.asarray(a))
    )


@functools.lru_cache(maxsize=1)
def _wardrobe() -> Wardrobe:
    shape = {"gender": 1.0, "age": 0.68, "muscle": 0.55, "weight": 0.4, "height": 0.5, "proportions": 0.6}
    return Wardrobe(body_model(), body_model().person(shape, 0.188))


def clip_view(seed: int, index: int, count: int, size: tuple[int, int]) -> View:
    """Return frame `index` of `count`."""
    model = body_model()
    clothes = _wardrobe()
    person = clothes.person
    when = index / max(count - 1, 1) * (len(_KEYS) - 1)
    first = min(int(when), len(_KEYS) - 2)
    t = when - first
    t = t * t * (3 - 2 * t)
    before, after = _KEYS[first], _KEYS[first + 1]
    pose = model.identity()
    for side, hand, arm, wrist in (("right", 0, 2, 3), ("left", 1, 4, 5)):
        raise_, twist, adduct, elbow = _between(before[arm], after[arm], t)
        set_arm(model, pose, side, np.array([raise_, twist, adduct]), elbow)
        set_wrist(model, pose, side, *_between(before[wrist], after[wrist], t))
        set_hand(model, pose, side, _between(gesture(before[hand]), gesture(after[hand]), t))
    look = Look(
        skin=(0.47, 0.28, 0.19), cuff=0.35, loose_m=0.006, cloth=(0.05, 0.11, 0.22), cloth_second=(0.3, 0.34, 0.4),
        cloth_pattern=0, cloth_scale=40.0, trousers=(0.05, 0.05, 0.06), hair=(0.03, 0.02, 0.013), hair_m=0.012,
        nails=(0.55, 0.33, 0.26), nail_polish=0.0, texture=1, seed=seed,
    )  # fmt: skip
    light = Light(3, (0.0, 0.0, 2.4), 0.25, (-0.5, -0.7, 0.6), 0.4, (1.05, 1.0, 0.95), 0.9, (1.0, 1.0, 1.0))
    f = (size[0] / 2) / np.tan(np.radians(60) / 2)
    camera: Pinhole = look_at(
        np.array([0.02, -0.95, 0.45]), np.array([0.0, 0.0, 0.39]), np.array([0, 0, 1.0]), f, size
    )
    figure = clothes.dressed(pose, look, {"right": 1, "left": 2})
    surface = cull(figure.surface, camera)
    hits = raycast(surface, camera)
    return make_view(
        index, seed, surface, camera, look, light, hits, {"right": 1, "left": 2}, figure.joints, person
    )
