"""Dress a posed person: skin, sleeves, shirt, trousers and hair as one labelled Surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.appearance import Accessories, Look
from hand_depth_ros.synthesis.people.accessories import ring, watch
from hand_depth_ros.synthesis.people.body import SIDES, BodyModel, Person, bone, hand_axes, hand_joints
from hand_depth_ros.synthesis.people.subdivision import Subdivision
from hand_depth_ros.synthesis.surface import (
    BODY,
    CLOTH,
    FABRIC,
    FOREARM,
    HAIR,
    SKIN,
    TROUSERS,
    Surface,
    join,
    vertex_normals,
    waves,
)

_BARE = Accessories()


@dataclass(frozen=True)
class Figure:
    """A posed person: surface in world coordinates, each hand's joints (21, 3), bones (B, 4, 4)."""

    surface: Surface
    joints: dict[str, np.ndarray]
    bones: np.ndarray


class Wardrobe:
    """The parts of a person that do not change with the pose: regions, sleeves, palms, wrists."""

    def __init__(self, model: BodyModel, person: Person) -> None:
        self.model, self.person = model, person
        self._triangles = np.concatenate([model.quads[:, :3], model.quads[:, [0, 2, 3]]])
        legs = model.vertices_of("lowerleg", "foot", "toe")
        quads = ~np.asarray(legs[model.quads].any(1))
        with_sleeves = model.vertices_of("upperarm02", "lowerarm", "wrist", "finger", "metacarpal")
        arms = np.asarray(with_sleeves[model.quads].all(1))
        self.smooth = Subdivision(model.quads[quads], model.uv, model.uv_quads[quads], arms[quads])
        rest = person.rest_vertices
        bones = person.rest_bones
        hand = {s: model.vertices_of("wrist", "finger", "metacarpal", side=s) for s in SIDES}
        fore = {s: model.vertices_of("lowerarm", side=s) for s in SIDES}
        upper = model.vertices_of("upperarm", "shoulder01")
        head = model.vertices_of("head", "neck", "eye")
        legs = model.vertices_of("upperleg", "pelvis", "spine05")
        sleeve = np.full(len(rest), 3.0)  # torso
        sleeve[head] = -1.0
        along = np.full(len(rest), -1.0)
        palm = np.zeros(len(rest))
        normals = self._rest_normals()
        for side in SIDES:
            wrist = bones[model.index[bone("wrist", side)], :3, 3]
            elbow = bones[model.index[bone("lowerarm01", side)], :3, 3]
            shoulder = bones[model.index[bone("upperarm01", side)], :3, 3]
            axis = (wrist - elbow) / np.linalg.norm(wrist - elbow)
            arm = hand[side] | fore[side]
            along[arm] = ((rest - wrist) @ axis)[arm]
            sleeve[arm] = -along[arm] / np.linalg.norm(wrist - elbow)
            mine = upper & model.vertices_of("", side=side)
            reach = shoulder - elbow
            sleeve[mine] = 1 + np.clip((rest - elbow) @ reach / (reach @ reach), 0, 1.2)[mine]
            axes = hand_axes(hand_joints(model, person, bones, side), side)
            palm[arm] = np.clip(normals @ axes[2] * 1.6 + 0.2, 0, 1)[arm] * (along[arm] > -0.01)
        self.sleeve = self.smooth.values(sleeve)
        self.along = self.smooth.values(along)
        self.palm = self.smooth.values(palm)
        region = np.full(len(rest), BODY)
        region[upper] = FOREARM
        for k, side in enumerate(SIDES):
            region[hand[side] | fore[side]] = k + 1
        quads, spread = self.smooth.quads, self.smooth.per_triangle
        self.region = spread(region[quads].min(1))
        self.legs, self.head = spread(np.asarray(legs[quads].all(1))), spread(np.asarray(head[quads].all(1)))
        self.sleeve_of = np.repeat(self.sleeve[self.smooth.triangles].mean(1).reshape(-1, 2).mean(1), 2)
        self.scalp = self._scalp(rest, head)
        self.rest = self.smooth(rest)
        self.eye, self.iris = (self.smooth.values(v) for v in self._eyes(rest))

    def _rest_normals(self) -> np.ndarray:
        return vertex_normals(self.person.rest_vertices, self._triangles)

    def _eyes(self, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (V,) 1 on the eyeballs and (V,) 1 on their irises. anny's eyes look along -y."""
        eye, iris = np.zeros(len(rest)), np.zeros(len(rest))
        for side in SIDES:
            mine = self.model.vertices_of("eye", side=side)
            ball = rest[mine] - (rest[mine].min(0) + rest[mine].max(0)) / 2
            eye[mine] = 1
            iris[mine] = -ball[:, 1] / np.linalg.norm(ball, axis=1) > 0.86
        return eye, iris

    def _scalp(self, rest: np.ndarray, head: np.ndarray) -> np.ndarray:
        """Return (T,) bool where hair grows: above the forehead, and lower towards the back."""
        points = rest[self.model.vertices_of("head")]
        low, high = points.min(0), points.max(0)
        centre, size = (low + high) / 2, high - low
        fine = (self.smooth(rest) - centre) / size
        grows = fine[:, 2] > np.interp(
            fine[:, 1], [-0.45, -0.25, 0.0, 0.15, 0.5], [0.36, 0.30, 0.12, -0.18, -0.3]
        )
        return grows[self.smooth.triangles].all(1) & self.head

    def dressed(
        self,
        pose: np.ndarray,
        look: Look,
        instance: dict[str, int],
        hide: tuple[str, ...] = (),
        accessories: Accessories = _BARE,
    ) -> Figure:
        """Return the person in a pose (B, 4, 4).

        Args:
            pose: pose parameters (B, 4, 4).
            look: skin, hair and clothes.
            instance: label of each side's hand.
            hide: parts left out, of "head", "body", "right" and "left".
            accessories: rings and watches.
        """
        vertices, bones = self.model.posed(self.person, pose)
        v = self.smooth(vertices)
        triangles = self.smooth.triangles
        # The body's own normals, interpolated: shells close where fine and coarse triangles meet.
        normals = self.smooth.values(vertex_normals(vertices, self._triangles))
        rng = np.random.default_rng(look.seed)
        label = self.region.copy()
        for k, side in enumerate(SIDES):
            label[self.region == k + 1] = instance[side]
        keep = np.ones(len(triangles), bool)
        if "head" in hide:
            keep &= ~self.head
        side_of = np.where(self.rest[triangles[:, 0], 0] < 0, "right", "left")
        arm = (self.region <= 2) | (self.region == FOREARM)
        for side in SIDES:
            if side in hide:
                keep &= ~(arm & (side_of == side))
        if "body" in hide:
            keep &= arm
        material = np.where(self.legs, TROUSERS, SKIN)
        label = np.where(self.legs, CLOTH, label)
        skin = Surface(v, triangles, self.smooth.uv, material, label, self._tint(look), self.along)
        worn = (self.sleeve_of > look.cuff) & ~self.legs & ~self.head
        covered = worn & ((self.sleeve_of > look.cuff + 0.3) | (self.sleeve_of > 1.2))
        rest_waves = waves(self.rest, rng, 0.09) * 0.5 + waves(self.rest, rng, 0.035) * 0.25
        stand_off = look.loose_m * (1.15 + 0.7 * rest_waves).clip(0.35, None) + 0.0012
        cloth = self._shell(skin, v + normals * stand_off[:, None], FABRIC, CLOTH)
        surfaces = [skin.only(keep & ~covered), cloth.only(keep & worn)]
        if look.hair_m > 0:
            thick = look.hair_m * (1 + 0.35 * waves(self.rest, rng, 0.03)).clip(0.3, None)
            surfaces.append(
                self._shell(skin, v + normals * thick[:, None], HAIR, BODY).only(keep & self.scalp)
            )
        surfaces += self._accessories(accessories, look, vertices, bones, instance, hide)
        surface = join([s for s in surfaces if len(s.triangles)])
        joints = {s: hand_joints(self.model, self.person, bones, s) for s in SIDES}
        return Figure(surface, joints, bones)

    def _accessories(
        self, worn: Accessories, look: Look, skin: np.ndarray, bones: np.ndarray, instance: dict[str, int],
        hide: tuple[str, ...],
    ) -> list[Surface]:  # fmt: skip
        """Return rings, and watches where the sleeve leaves room."""
        out: list[Surface] = []
        for side, finger in worn.rings:
            rng = np.random.default_rng([worn.seed, SIDES.index(side), finger])
            if side not in hide:
                made = ring(self.model, self.person, bones, skin, side, finger, instance[side], rng)
                out += [] if made is None else [made]
        for side in worn.watches:
            if side not in hide and look.cuff > 0.35:
                rng = np.random.default_rng([worn.seed, SIDES.index(side)])
                out += watch(self.model, self.person, bones, skin, side, rng)
        return out

    def _shell(self, skin: Surface, vertices: np.ndarray, material: int, label: int) -> Surface:
        count = len(skin.triangles)
        tint, along = np.ones_like(skin.tint), np.full_like(skin.along, -1.0)
        return Surface(
            vertices, skin.triangles, skin.uv, np.full(count, material), np.full(count, label), tint, along
        )

    def _tint(self, look: Look) -> np.ndarray:
        """Return (V', 3): lighter palms, most on dark skin, blotches and redder finger ends."""
        rng = np.random.default_rng(look.seed + 1)
        luminance = float(np.dot(look.skin, (0.3, 0.6, 0.1)))
        lighter = np.clip(0.42 - luminance, 0, None) * np.array([2.6, 2.2, 2.0])
        tint = 1 + self.palm[:, None] * (lighter + np.array([0.06, 0.0, 0.0]))
        mottle = 0.07 * waves(self.rest, rng, 0.02)[:, None] * np.array([0.5, 1.0, 1.0])
        red = np.clip(
            (self.along - 0.75 * self.person.hand_length_m) / (0.25 * self.person.hand_length_m), 0, 1
        )
        red = np.where(self.along > 0, red, 0)[:, None] * rng.uniform(0, 1) * np.array([0.0, -0.10, -0.08])
        tint = (tint * (1 + mottle + red)).clip(0.1, 4.0)
        white = np.array([0.62, 0.58, 0.55]) * (1 - self.iris[:, None]) + 0.02 * self.iris[:, None]
        return np.where(self.eye[:, None] > 0.5, white / np.array(look.skin), tint)
