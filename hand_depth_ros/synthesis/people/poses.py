"""Hand and arm poses that people can do: gestures and their blends, within joint limits.

Angles are degrees relative to anny's rest hand (slightly flexed). A hand's pose is written for the
right hand and mirrored for the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.people.body import BodyModel, Person, bone, hand_joints
from hand_depth_ros.synthesis.rotations import rotation

# Flexion of (knuckle, middle, end joint) for index, middle, ring, little.
FLAT, SOFT, BENT, HOOK, FIST = (-18, -7, -5), (4, 12, 8), (30, 38, 22), (0, 75, 48), (62, 88, 52)
# Thumb: (base across the palm +, base towards the back of the hand +, middle joint, end joint).
T_OUT, T_SOFT, T_IN, T_FIST, T_UP = (
    (-12, 12, -8, -12),
    (0, 0, 0, 0),
    (18, -8, 20, 14),
    (24, -4, 38, 42),
    (-22, 20, -12, -18),
)

# name: (weight, thumb, four fingers, spread of the fingers in degrees)
GESTURES: dict[str, tuple] = {
    "open": (3.0, T_OUT, (FLAT, FLAT, FLAT, FLAT), 9),
    "flat": (1.5, T_SOFT, (FLAT, FLAT, FLAT, FLAT), 0),
    "relaxed": (3.0, T_SOFT, (SOFT, (10, 18, 10), (15, 22, 12), (16, 24, 14)), 2),
    "loose": (1.5, T_IN, (BENT, (36, 44, 26), (40, 48, 28), (40, 46, 26)), 0),
    "fist": (2.0, T_FIST, (FIST, FIST, FIST, FIST), -2),
    "thumb up": (1.0, T_UP, (FIST, FIST, FIST, FIST), -2),
    "point": (2.0, T_FIST, (FLAT, FIST, FIST, FIST), 0),
    "gun": (1.0, T_UP, (FLAT, FIST, FIST, FIST), 0),
    "two": (1.5, T_FIST, (FLAT, FLAT, FIST, FIST), 8),
    "three": (1.0, T_IN, (FLAT, FLAT, FLAT, FIST), 7),
    "three with thumb": (0.7, T_UP, (FLAT, FLAT, FIST, FIST), 7),
    "four": (1.0, (30, -10, 35, 35), (FLAT, FLAT, FLAT, FLAT), 7),
    "little": (0.5, T_FIST, (FIST, FIST, FIST, FLAT), 0),
    "call": (0.5, T_UP, (FIST, FIST, FIST, FLAT), 3),
    "horns": (0.5, T_FIST, (FLAT, FIST, FIST, FLAT), 3),
    "ok": (1.2, (16, -18, 12, 22), ((36, 48, 24), SOFT, FLAT, FLAT), 6),
    "pinch": (1.5, (16, -18, 12, 22), ((36, 48, 24), (44, 52, 26), (50, 55, 28), (50, 52, 26)), 0),
    "pen": (1.0, (18, -16, 14, 20), ((30, 42, 18), (34, 46, 24), (46, 60, 34), (52, 66, 38)), 0),
    "claw": (0.8, (0, -10, 10, 22), (HOOK, HOOK, HOOK, HOOK), 6),
    "bowl": (1.0, (5, -14, 8, 10), (BENT, BENT, BENT, BENT), 4),
    "grip": (1.2, (12, -18, 14, 20), ((34, 52, 30), (38, 54, 32), (42, 54, 32), (44, 50, 30)), 0),
    "bent": (0.5, T_SOFT, ((55, -5, -5), (58, -5, -5), (58, -5, -5), (55, -5, -5)), 0),
}
_LOW = np.array([-32.0, -9.0, -9.0])
_HIGH = np.array([70.0, 95.0, 60.0])
_THUMB_LOW = np.array([-30.0, -25.0, -18.0, -22.0])
_THUMB_HIGH = np.array([42.0, 32.0, 48.0, 60.0])
_SPREAD = 20.0
SPREAD_FADES = 70.0  # flexion of a knuckle, degrees, at which its finger no longer moves sideways

# The limits of all 20 angles, in the order of HandAngles.flat.
ANGLES_LOW = np.concatenate([_THUMB_LOW, np.tile(_LOW, 4), np.full(4, -_SPREAD)])
ANGLES_HIGH = np.concatenate([_THUMB_HIGH, np.tile(_HIGH, 4), np.full(4, _SPREAD)])


@dataclass(frozen=True)
class HandAngles:
    """Joint angles of a hand in degrees.

    thumb (4,); fingers (4, 3) flexion; spread (4,) sideways of index to little (+ towards the
    little finger).
    """

    thumb: np.ndarray
    fingers: np.ndarray
    spread: np.ndarray

    def interpolate(self, other: HandAngles, t: float) -> HandAngles:
        """Return this pose moved by the fraction t to another."""
        pairs = zip(
            (self.thumb, self.fingers, self.spread), (other.thumb, other.fingers, other.spread), strict=True
        )
        return HandAngles(*[a + t * (b - a) for a, b in pairs])

    def clipped(self) -> HandAngles:
        """Return the pose clipped to the limits of the joints."""
        return HandAngles(
            np.clip(self.thumb, _THUMB_LOW, _THUMB_HIGH),
            np.clip(self.fingers, _LOW, _HIGH),
            np.clip(self.spread, -_SPREAD, _SPREAD),
        )

    @property
    def flat(self) -> np.ndarray:
        """Return (20,): thumb, fingers from the index on, spread."""
        return np.concatenate([self.thumb, self.fingers.ravel(), self.spread])

    @classmethod
    def from_flat(cls, angles: np.ndarray) -> HandAngles:
        """Invert `flat`."""
        return cls(angles[:4], angles[4:16].reshape(4, 3), angles[16:])


def gesture(name: str) -> HandAngles:
    """Return a gesture of the table."""
    _, thumb, fingers, spread = GESTURES[name]
    sideways = np.array([-1.0, -0.1, 0.5, 1.2]) * spread
    return HandAngles(np.array(thumb, float), np.array(fingers, float), sideways)


def random_angles(rng: np.random.Generator) -> HandAngles:
    """Return a random gesture, often on its way to another, with the slack of real hands."""
    names = list(GESTURES)
    weights = np.array([GESTURES[n][0] for n in names])
    first, second = (gesture(names[rng.choice(len(names), p=weights / weights.sum())]) for _ in range(2))
    angles = first.interpolate(second, rng.uniform(0.0, 1.0) if rng.random() < 0.35 else rng.beta(1.0, 6.0))
    slack = rng.uniform(0.3, 1.3)
    fingers = angles.fingers.copy()
    fingers[:, 0] += rng.normal(0, 7, 4) * slack + rng.normal(0, 5)
    bend = rng.normal(0, 8, 4) * slack
    fingers[:, 1] += bend
    fingers[:, 2] += 0.6 * bend + rng.normal(0, 3, 4) * slack
    thumb = angles.thumb + rng.normal(0, 6, 4) * slack
    return HandAngles(thumb, fingers, angles.spread + rng.normal(0, 2.5, 4) * slack).clipped()


def _turn(x: float, y: float, z: float, side: str) -> np.ndarray:
    """Return flexion about x after a turn about z and a twist about y, in degrees.

    Mirrored for the left.
    """
    mirror = 1.0 if side == "right" else -1.0
    x, y, z = np.radians([x, y * mirror, z * mirror])
    return rotation(np.array([0, 0, z])) @ rotation(np.array([0, y, 0])) @ rotation(np.array([x, 0, 0]))


def set_hand(model: BodyModel, pose: np.ndarray, side: str, angles: HandAngles) -> None:
    """Write the fingers of one hand into pose parameters (B, 4, 4)."""
    across, back, middle, end = angles.thumb
    for j, (x, z) in enumerate(((across, back), (middle, 0.0), (end, 0.0))):
        pose[model.index[bone(f"finger1-{j + 1}", side)], :3, :3] = _turn(x, 0, z, side)
    for f in range(4):
        for j in range(3):
            fade = np.clip(1 - angles.fingers[f, 0] / SPREAD_FADES, 0, 1)
            sideways = angles.spread[f] * fade if j == 0 else 0.0
            pose[model.index[bone(f"finger{f + 2}-{j + 1}", side)], :3, :3] = _turn(
                angles.fingers[f, j], 0, sideways, side
            )


def set_wrist(
    model: BodyModel, pose: np.ndarray, side: str, flex: float, deviate: float, twist: float
) -> None:
    """Write wrist flexion (palm +), deviation (thumb +) and forearm twist, in degrees."""
    pose[model.index[bone("wrist", side)], :3, :3] = _turn(deviate, 0.25 * twist, flex, side)
    pose[model.index[bone("lowerarm02", side)], :3, :3] = _turn(0, 0.55 * twist, 0, side)
    lower = model.index[bone("lowerarm01", side)]
    pose[lower, :3, :3] = pose[lower, :3, :3] @ _turn(0, 0.2 * twist, 0, side)


def set_arm(model: BodyModel, pose: np.ndarray, side: str, upper: np.ndarray, elbow: float) -> None:
    """Write the upper arm (raise, twist, adduct) and the elbow beyond anny's rest, in degrees."""
    mirror = 1.0 if side == "right" else -1.0
    vector = np.radians(np.asarray(upper) * np.array([1.0, mirror, mirror]))
    pose[model.index[bone("upperarm01", side)], :3, :3] = rotation(vector)
    pose[model.index[bone("lowerarm01", side)], :3, :3] = _turn(elbow, 0, 0, side)


def _samples(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (N, 3) along the bones of a hand (21, 3), finger of each (0..4.

    5 palm), rank along it.
    """
    points, owner, rank = [], [], []
    for f in range(5):
        chain = joints[1 + 4 * f : 5 + 4 * f]
        for j in range(3):
            for t in (0.0, 0.33, 0.67, 1.0)[(0 if j else 1) :]:
                points.append(chain[j] + t * (chain[j + 1] - chain[j]))
                owner.append(f)
                rank.append(j)
    for f in (1, 2, 3, 4):
        for t in (0.35, 0.55, 0.75, 0.92):
            points.append(joints[0] + t * (joints[1 + 4 * f] - joints[0]))
            owner.append(5)
            rank.append(0)
    return np.array(points), np.array(owner), np.array(rank)


def hand_spheres(joints: np.ndarray, hand_length_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spheres along a hand's bones: centres (N, 3), radii (N,) metres, finger of each (0..4.

    5 palm).

    joints: (21, 3).
    """
    points, owner, rank = _samples(joints)
    return points, _radius(owner, rank) * hand_length_m, owner


def _radius(owner: np.ndarray, rank: np.ndarray) -> np.ndarray:
    return np.where(owner == 5, 0.058, np.where(owner == 0, 0.048, np.where(rank == 2, 0.038, 0.043)))


def penetration(joints: np.ndarray, hand_length_m: float) -> float:
    """Return how far spheres along the bones overlap, of the touching distance.

    0 none, 1 bones that cross.

    Knuckle rows that touch by nature (neighbouring first bones, finger roots on the palm) are left
    out.
    """
    points, owner, rank = _samples(joints)
    radius = _radius(owner, rank) * hand_length_m
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    touching = radius[:, None] + radius[None]
    first, second = owner[:, None], owner[None]
    test = first < second
    test &= ~((second == 5) & ((first == 0) & (rank[:, None] < 2) | (first > 0) & (rank[:, None] < 1)))
    test &= ~((second - first == 1) & (first > 0) & (rank[:, None] == 0) & (rank[None] == 0))
    test &= ~((first == 0) & (rank[:, None] == 0))
    return float(np.max(np.where(test, 1 - distance / touching, 0.0)))


def resting_hand_joints(
    model: BodyModel, person: Person, angles: HandAngles, side: str = "right"
) -> np.ndarray:
    """Return the joints (21, 3) of a hand in a pose on an otherwise resting body."""
    pose = model.identity()
    set_hand(model, pose, side, angles)
    return hand_joints(model, person, model.bones(person, pose, model.arms[side]), side)


def open_until_free(model: BodyModel, person: Person, angles: HandAngles, allowed: float = 0.6) -> HandAngles:
    """Return the pose, opened step by step while fingers pass through each other or the palm."""
    relaxed = gesture("relaxed")
    for _ in range(6):
        if penetration(resting_hand_joints(model, person, angles), person.hand_length_m) <= allowed:
            break
        angles = angles.interpolate(relaxed, 0.25)
    return angles
