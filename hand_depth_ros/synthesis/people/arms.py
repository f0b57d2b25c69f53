"""Draw arms, hands and views of hands at random, within what a body allows."""

from __future__ import annotations

import numpy as np

from hand_depth_ros.synthesis.people.body import SIDES, Person, body_model, bone, hand_joints
from hand_depth_ros.synthesis.people.poses import open_until_free, random_angles, set_arm, set_hand, set_wrist
from hand_depth_ros.synthesis.people.real_poses import HandView, real_poses
from hand_depth_ros.synthesis.rotations import rotation

_REAL_POSE = 0.6  # fraction of poses near fitted ones


def random_arm(
    pose: np.ndarray, side: str, person: Person, rng: np.random.Generator, raised: bool = False
) -> HandView:
    """Pose one arm and its hand, within what people do without effort.

    raised: in front of the body.

    Returns:
        A view in which a hand like this was photographed (any hand, where the pose is a gesture of
        the table).
    """
    model = body_model()
    raise_, twist, adduct = (
        rng.uniform(35 if raised else -20, 105),
        rng.uniform(-40, 40),
        rng.uniform(-45, 20),
    )
    set_arm(model, pose, side, np.array([raise_, twist, adduct]), rng.uniform(0 if raised else -20, 100))
    flex, deviate = np.clip(rng.normal(-5, 22), -55, 60), np.clip(rng.normal(-3, 9), -25, 18)
    set_wrist(model, pose, side, flex, deviate, rng.uniform(-85, 85))
    angles, seen = real_poses().draw(rng)
    if rng.random() > _REAL_POSE:
        angles = random_angles(rng)
    set_hand(model, pose, side, open_until_free(model, person, angles))
    return seen


def any_view(rng: np.random.Generator) -> HandView:
    """Return a view of a hand that may be anywhere.

    Palm, back, one's own hand, pointing at the camera.
    """
    thumb, fingers, palm = np.eye(3)
    kind = rng.random()
    noise = rng.normal(0, 0.4, 3)
    if kind < 0.30:
        direction = palm + noise
    elif kind < 0.52:
        direction = -palm + noise
    elif kind < 0.75:  # one's own hands: over the forearm, mostly at the back of the hand
        direction = (
            -fingers * rng.uniform(0.2, 1.3)
            - palm * rng.uniform(-0.3, 1.0)
            + thumb * rng.uniform(-0.2, 0.6)
            + noise * 0.5
        )
    elif kind < 0.85:  # pointing at the camera
        direction = fingers + palm * rng.normal(0, 0.5) + noise
    else:
        direction = rng.normal(size=3)
    direction = direction / np.linalg.norm(direction)
    roll = rng.normal(0, np.radians(35)) if rng.random() < 0.65 else rng.uniform(-np.pi, np.pi)
    up = fingers - fingers @ direction * direction
    return HandView(direction, rotation(direction * roll) @ (up if np.linalg.norm(up) > 0.2 else thumb))


def arms_collide(bones: np.ndarray, person: Person) -> bool:
    """Return whether a hand or forearm is in the body, or one hand in the other."""
    joints = {side: hand_joints(body_model(), person, bones, side) for side in SIDES}
    if any(inside_body(bones, np.vstack([joints[s], _elbow(bones, s)]), person.scale) for s in SIDES):
        return True
    apart = np.linalg.norm(joints["right"][:, None] - joints["left"][None], axis=-1)
    return bool(apart.min() < 0.03)


def inside_body(bones: np.ndarray, joints: np.ndarray, scale: float) -> bool:
    """Return whether any joint is in the torso or the head.

    A flattened capsule and an ellipsoid.
    """
    model = body_model()
    low, high, head = (bones[model.index[n], :3, 3] for n in ("spine05", "neck01", "head"))
    axis = high - low
    t = np.clip((joints - low) @ axis / (axis @ axis), 0, 0.95)
    away = (joints - low - t[:, None] * axis) / (np.array([0.17, 0.135, 0.15]) * scale)
    ball = (joints - head - np.array([0, -0.02, 0.07]) * scale) / (np.array([0.09, 0.125, 0.14]) * scale)
    return bool(min(np.linalg.norm(away, axis=1).min(), np.linalg.norm(ball, axis=1).min()) < 1.0)


def _elbow(bones: np.ndarray, side: str) -> np.ndarray:
    """Return points (3, 3) of the forearm, from the elbow towards the wrist."""
    model = body_model()
    elbow, wrist = (bones[model.index[bone(n, side)], :3, 3] for n in ("lowerarm01", "wrist"))
    return np.stack([elbow + t * (wrist - elbow) for t in (0.2, 0.5, 0.8)])
