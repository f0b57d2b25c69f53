"""Crops: one hand fills most of the image, as the estimator's crop camera sees it.

It is alone, in front of the body or the face, touches the other hand, or holds or presses a thing.
"""

from __future__ import annotations

import numpy as np

from hand_depth_ros.synthesis.appearance import Look
from hand_depth_ros.synthesis.people.arms import any_view, arms_collide, random_arm
from hand_depth_ros.synthesis.people.body import SIDES, Person, body_model, bone, hand_axes
from hand_depth_ros.synthesis.people.dress import Figure, Wardrobe
from hand_depth_ros.synthesis.people.people import (
    random_accessories,
    random_light,
    random_look,
    rng_for,
    wardrobe,
)
from hand_depth_ros.synthesis.people.poses import set_hand
from hand_depth_ros.synthesis.people.real_poses import HandView
from hand_depth_ros.synthesis.render.raycast import Pinhole, raycast
from hand_depth_ros.synthesis.scene.grasp import Grasp, random_grasp
from hand_depth_ros.synthesis.scene.two_hands import Move, bring_together, reach, settle
from hand_depth_ros.synthesis.scene.views import (
    VIEWS_PER_PERSON,
    View,
    cull,
    hand_points,
    look_at,
    make_view,
    visible_fraction,
)
from hand_depth_ros.synthesis.surface import SKIN, Surface, join

_TRIES = 300
_REAL_VIEW = 0.45  # fraction of crops seen as the fitted hands were
_KINDS = {"alone": 0.42, "body": 0.16, "face": 0.10, "two": 0.14, "thing": 0.18}


class _Scene:
    """A person who does something with the hand `side`."""

    def __init__(
        self, clothes: Wardrobe, look: Look, side: str, kind: str, seed: int, rng: np.random.Generator
    ) -> None:
        self.clothes, self.person, self.look, self.kind = clothes, clothes.person, look, kind
        self.side, self.other = side, SIDES[1 - SIDES.index(side)]
        self.instances = {side: 1, self.other: 2}
        self._rng = rng
        model = body_model()
        self._pose = model.identity()
        self.real_view = random_arm(self._pose, side, self.person, rng, raised=rng.random() < 0.5)
        random_arm(self._pose, self.other, self.person, rng, raised=rng.random() < 0.4)
        self._grasp: Grasp | None = None
        self.possible = True
        if kind == "thing":
            self._grasp = random_grasp(model, self.person, rng)
            self.possible = self._grasp is not None
            if self._grasp is not None:
                set_hand(model, self._pose, side, self._grasp.angles)
        if kind == "face":
            self.possible = self._to_the_face()
        self.whole = kind in ("body", "face")
        if self.whole:
            self.possible = self.possible and self.body_is_free()
        self._worn = random_accessories(seed, rng)
        self._move: Move | None = None

    def _to_the_face(self) -> bool:
        head = body_model().bones(self.person, self._pose)[body_model().index["head"], :3, 3]
        scale = self.person.scale
        where = head + self._rng.normal(0, [0.05, 0.02, 0.06]) * scale
        where = where + np.array([0.0, -self._rng.uniform(0.14, 0.22), 0.05]) * scale
        return reach(self._pose, self.person, self.side, where, self._rng) < 0.03

    def body_is_free(self) -> bool:
        """Return whether no arm is in the body."""
        return not arms_collide(body_model().bones(self.person, self._pose), self.person)

    def show(self, whole: bool) -> Figure | None:
        """Return surface and joints, with the whole body or without.

        Return None where hands cannot be brought together.
        """
        hide: tuple[str, ...] = () if whole else ("head", "body", self.other)
        figure = self.clothes.dressed(self._pose, self.look, self.instances, hide, self._worn)
        surfaces, joints = [figure.surface], dict(figure.joints)
        if self._grasp is not None:
            mine = joints[self.side]
            thing = self._grasp.thing.moved(hand_axes(mine, self.side), mine[0])
            surfaces.append(thing.surface(self._rng))
        if self.kind == "two":
            move = bring_together(figure.bones, self.person, self.side, self.other, self._rng)
            if move is None:
                return None
            hide = ("head", "body", self.side)
            second = self.clothes.dressed(self._pose, self.look, self.instances, hide, self._worn)
            hands = [
                s.only((s.label == k) & (s.material == SKIN))
                for s, k in ((figure.surface, 1), (second.surface, 2))
            ]
            move = settle(move, *hands)
            surfaces.append(second.surface.moved(move.rotation, move.translation))
            joints[self.other] = move(joints[self.other])
            self._move = move
        return Figure(join(surfaces), joints, figure.bones)

    def ends_in_view(self, figure: Figure, camera: Pinhole) -> bool:
        """Return whether the image shows where an arm without a body ends."""
        ends = [figure.bones[body_model().index[bone("upperarm01", self.side)], :3, 3]]
        if self._move is not None:
            ends.append(self._move(figure.bones[body_model().index[bone("upperarm01", self.other)], :3, 3]))
        p = camera.transform(np.array(ends))
        margin = 0.12 * camera.f / np.maximum(p[:, 2:], 0.05)
        pixels = p[:, :2] / np.maximum(p[:, 2:], 0.05) * camera.f + [camera.cx, camera.cy]
        inside = (pixels > -margin) & (pixels < np.array([camera.width, camera.height]) + margin)
        return bool((inside.all(1) & (p[:, 2] > 0.0)).any())


def _direction(scene: _Scene, axes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the direction from the hand to the camera, and the image's up, in the world."""
    if scene.kind == "face" or (scene.kind == "body" and rng.random() < 0.4):  # from the front
        direction = np.array([rng.normal(0, 0.4), -1.0, rng.normal(0.05, 0.3)])
        return direction / np.linalg.norm(direction), np.array([rng.normal(0, 0.15), 0.0, 1.0])
    shown: HandView = scene.real_view if rng.random() < _REAL_VIEW else any_view(rng)
    return shown.toward @ axes, shown.up @ axes


def _crop_camera(
    points: np.ndarray, direction: np.ndarray, up: np.ndarray, size: int, rng: np.random.Generator
) -> Pinhole | None:
    """Return a crop camera that a hand's points fill, 0.2-1.5 m away.

    Return None where it would stand in the hand.
    """
    distance = float(np.exp(rng.uniform(np.log(0.2), np.log(1.5))))
    target = (points.min(0) + points.max(0)) / 2
    eye = target + direction * distance
    camera = look_at(eye, target, up, 1.0, (size, size), (0.0, 0.0))
    if camera.transform(points)[:, 2].min() < 0.07:
        return None
    box = camera.project(points)
    middle = (box.min(0) + box.max(0)) / 2 + rng.normal(0, 0.03, 2) * np.ptp(box, 0)
    target = eye + camera.rotation.T @ np.array([*middle, 1.0])
    camera = look_at(eye, target, up, 1.0, (size, size), (0.0, 0.0))
    extent = 2 * np.abs(camera.project(points)).max()
    return look_at(eye, target, up, size / (extent * rng.uniform(1.08, 1.65)), (size, size))


def crop_view(seed: int, index: int, size: int) -> View:
    """Return view `index`: a square image of `size` pixels; principal point (size - 1) / 2."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    kind = str(rng_for(seed, 13, index).choice(list(_KINDS), p=list(_KINDS.values())))
    for attempt in range(_TRIES):
        rng = rng_for(seed, 10, index, attempt)
        look, light = random_look(seed, who, rng), random_light(seed, who, rng)
        scene = _Scene(clothes, look, SIDES[rng.integers(2)], kind, seed * 1_000_003 + who, rng)
        figure = scene.show(scene.whole) if scene.possible else None
        if figure is None:
            continue
        axes = hand_axes(figure.joints[scene.side], scene.side)
        camera = _crop_camera(hand_points(figure.surface, 1), *_direction(scene, axes, rng), size, rng)
        if camera is None:
            continue
        if not scene.whole and scene.ends_in_view(figure, camera):
            if kind == "two" or not scene.body_is_free():
                continue
            figure = scene.show(True)
            if figure is None:
                continue
        view = _view_if_visible(seed, index, figure, camera, look, light, scene)
        if view is not None:
            return view
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")


def _view_if_visible(
    seed: int, index: int, figure: Figure, camera: Pinhole, look: Look, light, scene: _Scene
) -> View | None:
    """Return the view if it shows enough of the hand and nothing is right before the lens."""
    surface: Surface = cull(figure.surface, camera)
    hits = raycast(surface, camera)
    seen = hits.depth[hits.depth > 0]
    if np.count_nonzero(hits.label == 1) < 0.04 * camera.width * camera.height or seen.min() < 0.06:
        return None
    needed = {"two": 0.45, "thing": 0.5}.get(scene.kind, 0.6)
    if visible_fraction(surface, camera, hits, 1) < needed:
        return None
    person: Person = scene.person
    return make_view(index, seed, surface, camera, look, light, hits, scene.instances, figure.joints, person)
