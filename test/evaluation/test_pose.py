"""Classes of pose: fingers curled or straight, pointing at the camera or away from it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.console import Console

from hand_depth_ros.evaluation.cli import evaluate_dataset
from hand_depth_ros.evaluation.pose import hand_pose
from hand_depth_ros.evaluation.readers import open_dataset
from hand_depth_ros.geometry.hand import FINGERS


def hand(bones: list[tuple[float, float]], z_m: float = 0.4) -> np.ndarray:
    """21 joints whose four fingers have these bones: (up in the image, away from the camera),
    metres.
    """
    joints = np.zeros((21, 3))
    joints[:, 2] = z_m
    joints[0, 1] = 0.09
    joints[1:5, 0] = -0.04 - 0.02 * np.arange(4)
    for number, finger in enumerate(FINGERS[1:]):
        up, away = np.cumsum([(0.0, 0.0), *bones], axis=0).T
        joints[list(finger)] = np.column_stack((np.full(4, 0.02 * number - 0.03), -up, z_m + away))
    return joints


STRAIGHT = hand([(0.04, 0.0), (0.025, 0.0), (0.02, 0.0)])
POINTING = hand([(0.0, -0.04), (0.0, -0.025), (0.0, -0.02)])
FIST_FROM_THE_BACK = hand([(0.0, 0.04), (-0.025, 0.0), (0.0, -0.02)])
FIST_FROM_THE_FRONT = hand([(0.0, -0.04), (-0.025, 0.0), (0.0, 0.02)])


def test_openness_and_direction() -> None:
    straight, pointing = hand_pose(STRAIGHT), hand_pose(POINTING)
    back, front = hand_pose(FIST_FROM_THE_BACK), hand_pose(FIST_FROM_THE_FRONT)
    assert straight is not None and pointing is not None and back is not None and front is not None
    assert straight.openness == pytest.approx(1) and straight.openness_class == "open"
    assert straight.away == pytest.approx(0, abs=0.01) and straight.direction_class == "across"
    assert pointing.away == pytest.approx(-1, abs=0.01)
    assert pointing.direction_class == "towards the camera"
    assert back.openness == pytest.approx(np.hypot(0.025, 0.02) / 0.085)
    assert (back.openness_class, back.direction_class) == ("fist", "away from the camera")
    assert (front.openness_class, front.direction_class) == ("fist", "towards the camera")


def test_direction_is_taken_along_the_ray_to_the_hand() -> None:
    """The same hand turned with its ray, 30 degrees to the side, points the same way."""
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    for joints in (STRAIGHT, POINTING, FIST_FROM_THE_BACK):
        straight, turned = hand_pose(joints), hand_pose(joints @ turn.T)
        assert straight is not None and turned == pytest.approx(straight)


def test_unknown_joints_have_no_pose() -> None:
    joints = STRAIGHT.copy()
    joints[12] = np.nan
    assert hand_pose(joints) is None and hand_pose(np.zeros((21, 3))) is None


def test_report_names_the_worst_group_of_poses(tmp_path: Path) -> None:
    """Ten open hands are right, five fists from the back 10 % too near, four fists from the front
    50 % (too few).
    """
    poses = [STRAIGHT] * 10 + [FIST_FROM_THE_BACK] * 5 + [FIST_FROM_THE_FRONT] * 4
    (tmp_path / "set").mkdir()
    lines = []
    for i, joints in enumerate(poses):
        cv2.imwrite(str(tmp_path / "set" / f"{i}.png"), np.full((96, 128, 3), i, np.uint8))
        camera = {"width": 128, "height": 96, "fx": 200, "fy": 200, "cx": 64, "cy": 48}
        lines.append({"image": f"set/{i}.png", **camera, "joints_mm": (1e3 * joints).tolist()})
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def estimate(rgb, camera, rois=None, hand_length_m=None, *, track=True) -> SimpleNamespace:
        number = int(rgb[0, 0, 0])
        factor = 1.0 if number < 10 else 0.9 if number < 15 else 0.5
        truth = np.median(poses[number][[2, 3, 6, 7, 10, 11, 14, 15, 18, 19], 2]) - 0.006
        x, y = (200 * poses[number][:, :2] / poses[number][:, 2:] + (64, 48)).T
        mask = np.zeros((96, 128), np.uint8)
        mask[int(y.min()) : int(y.max()) + 1, int(x.min()) : int(x.max()) + 1] = 1
        depth = np.full(mask.shape, factor * truth, np.float32)
        hands = (SimpleNamespace(id=1, hand_length_m=0.19),)
        return SimpleNamespace(depth=depth, sigma=0.02 * depth, mask=mask, hands=hands)

    estimator = SimpleNamespace(estimate=estimate)
    console = Console(width=140, record=True, quiet=False, file=(tmp_path / "printed").open("w"))
    report = evaluate_dataset(open_dataset(tmp_path / "set"), estimator, console=console)
    groups = {(group["openness"], group["direction"]): group for group in report["poses"]["groups"]}
    assert groups[None, None]["hands"] == 19 and groups["fist", None]["hands"] == 9
    mean = (10 + 5 * 0.9 + 4 * 0.5) / 19
    back = groups["fist", "away from the camera"]
    assert back["hands"] == 5 and back["ratio_against_set"] == pytest.approx(0.9 / mean - 1, abs=1e-4)
    assert groups["open", "across"]["ratio_against_set"] == pytest.approx(1 / mean - 1, abs=1e-4)
    worst = report["poses"]["worst"]
    assert (worst["openness"], worst["direction"]) == ("open", "across")  # +15 % against the set, fists +4 %
    assert "worst: open, across" in console.export_text()
