"""Poses from real hands: the fit finds known hands; shipped poses are possible.

Oracle: anny itself poses the hand that the fit has to find.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("anny", reason="anny poses the people: pip install 'hand_depth_ros[synth]'")

from hand_depth_ros.synthesis.people.body import body_model, hand_axes, hand_joints
from hand_depth_ros.synthesis.people.poses import (
    ANGLES_HIGH,
    ANGLES_LOW,
    HandAngles,
    gesture,
    open_until_free,
    penetration,
    resting_hand_joints,
    set_hand,
)
from hand_depth_ros.synthesis.people.real_poses import real_poses
from hand_depth_ros.synthesis.rotations import rotation

GESTURES = ("open", "point", "grip", "fist")


@pytest.fixture(scope="module")
def known() -> tuple[list[HandAngles], np.ndarray]:
    """Poses, and their joints (N, 21, 3) as a camera sees them: turned, moved, of several sizes.

    Odd ones are left hands.
    """
    model = body_model()
    rng = np.random.default_rng(4)
    poses, joints = [], []
    for k, name in enumerate(GESTURES):
        side = "left" if k % 2 else "right"
        person = model.person({"age": 0.7}, rng.uniform(0.17, 0.2))
        pose = model.identity()
        poses.append(gesture(name))
        set_hand(model, pose, side, poses[-1])
        _, bones = model.posed(person, pose)
        turn = rotation(rng.normal(size=3) * 1.5)
        joints.append(hand_joints(model, person, bones, side) @ turn.T + rng.normal(0, 0.05, 3))
    return poses, np.array(joints)


def test_the_fit_finds_known_hands(known: tuple[list[HandAngles], np.ndarray]) -> None:
    from hand_depth_ros.synthesis.people.fit_poses import fit_hands

    poses, joints = known
    right = np.arange(len(poses)) % 2 == 0
    fits = fit_hands(joints, right)
    assert np.median(fits.residual) < 0.001
    assert fits.residual.max() < 0.006
    wanted = np.array([pose.flat for pose in poses])
    off = np.abs(fits.angles - wanted)[
        :, 4:16
    ]  # flexion: what a thumb's saddle joint does is told less surely
    assert np.median(off) < 4
    assert off.max() < 15
    mistaken = fit_hands(joints, ~right)
    assert mistaken.residual.mean() > 3 * fits.residual.mean()


def test_a_view_is_told_in_the_hands_own_axes() -> None:
    from hand_depth_ros.synthesis.people.fit_poses import hand_views

    model = body_model()
    joints = resting_hand_joints(model, model.person({"age": 0.7}), gesture("flat"))
    axes = hand_axes(joints, "right")
    # A right palm towards the camera, fingers up: thumb to the right, image y down, z away.
    to_camera = np.stack([axes[0], -axes[1], -axes[2]])
    assert np.linalg.det(to_camera) == pytest.approx(1)
    (view,) = hand_views((joints @ to_camera.T)[None])
    assert np.allclose(view.toward, [0, 0, 1], atol=1e-6)
    assert np.allclose(view.up, [0, 1, 0], atol=1e-6)


def test_shipped_poses_are_possible() -> None:
    poses = real_poses()
    assert len(poses.weight) > 3000
    assert (poses.angles >= ANGLES_LOW - 1).all()
    assert (poses.angles <= ANGLES_HIGH + 1).all()
    assert np.abs((poses.toward * poses.up).sum(1)).max() < 0.03
    model = body_model()
    person = model.person({"age": 0.7}, 0.19)
    rng = np.random.default_rng(1)
    overlap = []
    for _ in range(40):
        angles, view = poses.draw(rng)
        assert np.linalg.norm(view.toward) == pytest.approx(1)
        free = open_until_free(model, person, angles)
        overlap.append(penetration(resting_hand_joints(model, person, free), 0.19))
    assert max(overlap) <= 0.6
    assert len(set(overlap)) > 10


def test_rare_poses_weigh_more() -> None:
    from hand_depth_ros.synthesis.people.fit_poses import rarity

    weights = rarity(np.array([[0.0] * 20] * 9 + [[40.0] * 20]))
    assert weights[-1] == pytest.approx(9 * weights[0], rel=1e-3)


def test_the_command_writes_what_can_be_drawn(
    known: tuple[list[HandAngles], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hand_depth_ros.synthesis.people import fit_poses

    monkeypatch.setattr(fit_poses, "_STEPS", 100)
    hands = [
        {"world_m": j.round(5).tolist(), "handedness_mirrored": "Right" if k % 2 else "Left"}
        for k, j in enumerate(known[1])
    ]
    (tmp_path / "landmarks.jsonl").write_text(json.dumps({"hands": hands}) + "\n")
    fit_poses.main(tmp_path / "landmarks.jsonl", tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz") as data:
        assert data["angles"].shape == (len(hands), 20)
        assert data["weight"].sum() == pytest.approx(1, abs=1e-5)
