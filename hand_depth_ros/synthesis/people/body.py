"""anny's people in numpy arrays, with forward kinematics cheap enough to search poses with.

World frame here: x to the person's left, y to the person's back, z up, metres. Only this module
touches anny.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from dataclasses import dataclass

import numpy as np

from hand_depth_ros.errors import MissingDependencyError

SIDES = ("right", "left")
FINGERS = 5
_PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")
# anny's changes of a hand, -1 to 1; 0 is the hand as sculpted
_HANDS = ("fingers-length-incr", "fingers-diameter-incr")


def bone(name: str, side: str) -> str:
    """Return anny's name of one side's bone, such as "wrist.R" for "wrist" and "right"."""
    return f"{name}.{'R' if side == 'right' else 'L'}"


def _changes(longer: float, thicker: float) -> dict[str, float]:
    """Return anny's changes of both hands."""
    values = zip(_HANDS, (longer, thicker), strict=True)
    return {f"{side}-hand-{name}": float(value) for name, value in values for side in "lr"}


@dataclass(frozen=True)
class Person:
    """One person at rest. Poses are (B, 4, 4) bone-to-world.

    B bones in the order of BodyModel.labels.
    """

    phenotype: dict[str, float]
    hands: dict[str, float]  # anny's changes of the hands by name
    scale: float  # multiplies anny's metres, so that hands get real sizes
    rest_vertices: np.ndarray  # (V, 3)
    rest_bones: np.ndarray  # (B, 4, 4)
    relative: np.ndarray  # (B, 4, 4) each bone at rest, in its parent's frame
    root: np.ndarray  # (4, 4) pose of the root bone when nothing is posed
    # (side, finger 0..4) -> (3,) finger's end in its last bone's frame
    tips: dict[tuple[str, int], np.ndarray]
    hand_length_m: float  # wrist joint to the end of the middle finger, along the bones


class BodyModel:
    """anny's topology, shapes and poses. Loading takes about a second: use `body_model()`."""

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import anny
                import torch
                import warp

                warp.config.quiet = True
                self._torch = torch
                self._anny = anny.Anny(
                    topology="anny-quads",
                    pose_parameterization="local-bone",
                    local_changes=list(_changes(0, 0)),
                )
        except ImportError as error:
            raise MissingDependencyError.for_extra("synth", "anny") from error
        model = self._anny
        self.labels: list[str] = list(model.bone_labels)
        self.index = {label: i for i, label in enumerate(self.labels)}
        self.parents = [int(p) for p in model.bone_parents]
        self.quads = np.asarray(model.faces).astype(np.int64)
        self.uv = np.asarray(model.texture_coordinates).astype(np.float32)
        self.uv_quads = np.asarray(model.face_texture_coordinate_indices).astype(np.int64)
        count = int(model.template_vertices.shape[0])
        weights = torch.zeros(count, len(self.labels), dtype=torch.float64)
        weights.scatter_add_(
            1,
            torch.as_tensor(model.vertex_bone_indices).long(),
            torch.as_tensor(model.vertex_bone_weights).double(),
        )
        self.arms = {side: self.arm_bones(side) for side in SIDES}
        self.part = weights.argmax(1).numpy()  # (V,) the bone that moves a vertex most

    def vertices_of(self, *prefixes: str, side: str | None = None) -> np.ndarray:
        """Return (V,) bool: vertices moved most by bones with these prefixes (and of that side)."""
        end = "" if side is None else bone("", side)
        good = [label.startswith(prefixes) and label.endswith(end) for label in self.labels]
        return np.asarray(good)[self.part]

    def _forward(
        self, pose: np.ndarray, phenotype: dict[str, float], hands: dict[str, float]
    ) -> dict[str, np.ndarray]:
        torch = self._torch
        with torch.no_grad():
            out = self._anny(
                pose_parameters=torch.from_numpy(pose)[None],
                phenotype_kwargs=phenotype,
                local_changes_kwargs=hands,
            )
        return {key: value[0].numpy().astype(np.float64) for key, value in out.items()}

    def person(
        self,
        phenotype: dict[str, float],
        hand_length_m: float | None = None,
        fingers: tuple[float, float] = (0.0, 0.0),
    ) -> Person:
        """Return a person of that shape, scaled to the hand length (anny's own when None).

        Args:
            phenotype: anny's shape parameters by name, 0 to 1; 0.5 where missing.
            hand_length_m: wrist joint to the end of the middle finger, along the bones.
            fingers: how much longer and thicker than sculpted, -1 to 1; the middle finger is 0.46
                of the hand at 0 and 0.55 at 1.
        """
        hands = _changes(*fingers)
        phenotype = {key: float(phenotype.get(key, 0.5)) for key in _PHENOTYPES}
        out = self._forward(self.identity(), phenotype, hands)
        bones, vertices = out["rest_bone_poses"], out["rest_vertices"]
        tips = {}
        for side in SIDES:
            for finger in range(FINGERS):
                i = self.index[bone(f"finger{finger + 1}-3", side)]
                local = (vertices[self.part == i] - bones[i, :3, 3]) @ bones[i, :3, :3]
                tips[side, finger] = local[local[:, 1].argmax()]
        heads = [
            bones[self.index[bone(n, "right")], :3, 3]
            for n in ("wrist", "finger3-1", "finger3-2", "finger3-3")
        ]
        length = sum(float(np.linalg.norm(b - a)) for a, b in itertools.pairwise(heads))
        length += float(np.linalg.norm(tips["right", 2]))
        scale = 1.0 if hand_length_m is None else hand_length_m / length
        bones = bones.copy()
        bones[:, :3, 3] *= scale
        root = out["bone_poses"][0].copy()
        root[:3, 3] *= scale
        tips = {key: tip * scale for key, tip in tips.items()}
        inverse = np.linalg.inv(bones)
        relative = np.stack(
            [bones[i] if p < 0 else inverse[p] @ bones[i] for i, p in enumerate(self.parents)]
        )
        return Person(phenotype, hands, scale, vertices * scale, bones, relative, root, tips, length * scale)

    def identity(self) -> np.ndarray:
        """Return the pose parameters (B, 4, 4) of the rest pose."""
        return np.tile(np.eye(4), (len(self.labels), 1, 1))

    def arm_bones(self, side: str) -> list[int]:
        """Return the bones of an arm and its hand, and those they hang from, parents first."""
        hand = (
            self.index[bone(name, side)]
            for name in ("wrist", *(f"finger{f + 1}-{j}" for f in range(FINGERS) for j in (1, 2, 3)))
        )
        chain: set[int] = set()
        for i in hand:
            while i >= 0 and i not in chain:
                chain.add(i)
                i = self.parents[i]
        return sorted(chain)

    def bones(self, person: Person, pose: np.ndarray, only: list[int] | None = None) -> np.ndarray:
        """Return bone-to-world (B, 4, 4) of a pose (B, 4, 4): anny's own to a few millimetres.

        only: the bones that are needed (`arm_bones`); the others are undefined.
        """
        out = np.empty_like(pose)
        for i in range(len(self.parents)) if only is None else only:
            parent = self.parents[i]
            out[i] = person.root if parent < 0 else out[parent] @ person.relative[i] @ pose[i]
        return out

    def posed(self, person: Person, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the skinned mesh (V, 3) and the bones (B, 4, 4), from anny itself."""
        out = self._forward(pose, person.phenotype, person.hands)
        bones = out["bone_poses"]
        bones[:, :3, 3] *= person.scale
        return out["vertices"] * person.scale, bones


@functools.lru_cache(maxsize=1)
def body_model() -> BodyModel:
    """Return the model, loaded once a process."""
    return BodyModel()


def hand_joints(
    model: BodyModel, person: Person, bones: np.ndarray, side: str, tip_at: float = 0.93
) -> np.ndarray:
    """Return joints (21, 3), world: wrist, then thumb to little, four each from the palm outwards.

    The last of each four lies on the bone at `tip_at` of the way to the finger's end, inside the
    hand.
    """
    joints = [bones[model.index[bone("wrist", side)], :3, 3]]
    for finger in range(FINGERS):
        for j in (1, 2, 3):
            joints.append(bones[model.index[bone(f"finger{finger + 1}-{j}", side)], :3, 3])
        last = bones[model.index[bone(f"finger{finger + 1}-3", side)]]
        joints.append(last[:3, :3] @ (person.tips[side, finger] * tip_at) + last[:3, 3])
    return np.stack(joints)


def hand_axes(joints: np.ndarray, side: str) -> np.ndarray:
    """Return unit rows (3, 3) towards the thumb's side, the fingers and out of the palm."""
    along = joints[9] - joints[0]
    along = along / np.linalg.norm(along)
    across = joints[5] - joints[17]
    across = across - across @ along * along
    across = across / np.linalg.norm(across)
    palm = np.cross(across, along) * (1.0 if side == "right" else -1.0)
    return np.stack([across, along, palm])
