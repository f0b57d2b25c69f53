"""Joints of samples lie on the hand, in the image and in depth; the joint head and its loss."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.drawn_hands import PIXELS_PER_METRE, open_hand, plane_view, write_landmarks, write_views
from support.small_networks import TINY

from hand_depth_ros.geometry.hand import wrist_to_knuckles
from hand_depth_ros.network import HandDepthNet
from hand_depth_ros.network.joints import JointHead
from hand_depth_ros.training.data.rendered import load_views
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.modules.losses import joint_loss, total_loss
from hand_depth_ros.training.samples.crops import CropDataset
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape

SIDE = 96


pytestmark = pytest.mark.usefixtures("no_occluders")


def at_joints(sample: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mask, relief and the joints' z at the joints that are in the crop."""
    joints = sample["joints"]
    u, v = np.round((joints[:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
    inside = (u >= 0) & (u < SIDE) & (v >= 0) & (v < SIDE)
    u, v = u[inside], v[inside]
    return sample["mask"][v, u], sample["relief"][v, u], joints[inside, 2]


def test_joints_on_rendered_plane_have_its_relief() -> None:
    view, _, _ = plane_view()
    turn = np.linspace(0, 2 * np.pi, 21)
    pixels = np.round(79.5 + 35 * np.linspace(0.1, 1, 21) * (np.cos(turn), np.sin(turn))).astype(int)
    joints = np.column_stack((pixels[0], pixels[1], view.depth_m[pixels[1], pixels[0]])).astype(np.float32)
    view = view._replace(hands=(view.hands[0]._replace(joints=joints),))
    data = CropDataset(
        TrainingData([view], [], [], real_fraction=0.0, negative_fraction=0.0),
        CropShape(SIDE, SIDE),
        30,
        seed=1,
    )
    for sample in (data[i] for i in range(30)):
        mask, relief, z = at_joints(sample)
        assert len(z) > 8 and (mask == 1).all()
        np.testing.assert_allclose(z, relief, atol=0.012)  # half a pixel of the slanted plane


def test_joints_of_photograph_lie_behind_surface(tmp_path: Path) -> None:
    images = load_photographs(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    data = CropDataset(
        TrainingData([], images, [], real_fraction=1.0, negative_fraction=0.0),
        CropShape(SIDE, SIDE),
        30,
        seed=0,
    )
    for sample in (data[i] for i in range(30)):
        mask, relief, z = at_joints(sample)
        assert (mask != 0).mean() > 0.8  # the wrist and the tips lie on the mask's edge
        behind = (z - relief)[np.isfinite(relief)]
        assert len(behind) > 8 and (behind > 0.01).all() and (behind < 0.12).all()


def test_joints_of_rendered_set_are_projected_into_its_images(tmp_path: Path) -> None:
    folder = write_views(tmp_path, 1)
    line = json.loads((folder / "cameras.jsonl").read_text())
    line["hands"][0]["joints_m"] = [[0.01 * k, -0.002 * k, 0.4 + 0.01 * k] for k in range(21)]
    (folder / "cameras.jsonl").write_text(json.dumps(line) + "\n")
    for scale in (1.0, 0.5):
        (view,) = load_views(folder, scale=scale)
        x, y, z = view.hands[0].joints[10]
        assert z == pytest.approx(0.5)
        assert (x, y) == pytest.approx((scale * (240 * 0.2 + 47.5), scale * (47.5 - 240 * 0.04)), abs=1e-3)


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2, -2.5])
def test_hand_points_from_wrist_to_knuckles(angle: float) -> None:
    flat, _ = open_hand()
    turn = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )  # clockwise in an image
    joints = np.column_stack((flat @ turn.T, np.linspace(-1, 1, 21)))
    for right, down in (
        wrist_to_knuckles(joints),
        wrist_to_knuckles(torch.from_numpy(joints).expand(2, 3, 21, 3))[1, 2].tolist(),
    ):
        assert np.hypot(right, down) == pytest.approx(0.086 * PIXELS_PER_METRE, rel=0.02)
        np.testing.assert_allclose(
            (right, down) / np.hypot(right, down), (np.sin(angle), -np.cos(angle)), atol=0.02
        )


def test_joint_is_where_its_heatmap_is_high() -> None:
    head = JointHead(1, 8)
    with torch.no_grad():
        head.maps.weight.fill_(50.0)
        head.maps.bias.zero_()
    features = torch.zeros(1, 1, 8, 8)
    features[0, 0, 2, 6] = 1.0
    joints = head(features)
    assert joints.shape == (1, 21, 3)
    expected = torch.tensor([6.5 / 4 - 1, 2.5 / 4 - 1, 0.25 * 50])
    torch.testing.assert_close(joints[0], expected.expand(21, 3), atol=1e-4, rtol=1e-4)


def test_only_known_joints_in_crop_count() -> None:
    truth = torch.rand(2, 21, 3) - 0.5
    truth[0, 3] = torch.nan
    truth[1, 5, 0] = 1.4
    weight = torch.ones(2)
    guess = truth.clone()
    guess[0, 3], guess[1, 5] = 7.0, -7.0
    guess.requires_grad_()
    loss = joint_loss(guess, truth, weight)
    assert float(loss.detach()) == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert guess.grad is not None and torch.isfinite(guess.grad).all()
    for axis in range(3):
        other = guess.detach().clone()
        other[0, 0, axis] += 0.1
        assert float(joint_loss(other, truth, weight)) > 0
        assert float(joint_loss(other, truth, torch.tensor([0.0, 1.0]))) == 0


def test_joint_relief_is_that_of_nearby_joints() -> None:
    head = JointHead(1, 16)
    joints = torch.zeros(1, 21, 3)
    joints[0, :10] = torch.tensor([-0.5, -0.5, -0.2])
    joints[0, 10:] = torch.tensor([0.5, 0.25, 0.4])
    relief = head.relief(joints)
    assert relief.shape == (1, 1, 16, 16)
    row, column = (1 - 0.5) * 8, (1 + 0.25) * 8
    assert float(relief[0, 0, int(row), int(row)]) == pytest.approx(-0.2, abs=0.01)
    assert float(relief[0, 0, int(column), int(1.5 * 8)]) == pytest.approx(0.4, abs=0.01)
    assert float(relief.min()) >= -0.2 - 1e-5 and float(relief.max()) <= 0.4 + 1e-5


def test_joint_depth_is_fed_forward_and_shifts_relief() -> None:
    torch.manual_seed(1)
    network = HandDepthNet(dataclasses.replace(TINY, joints=True)).eval()
    crops = torch.rand(2, 3, TINY.crop_size, TINY.crop_size)
    before = network(crops)
    assert [j.shape for j in before.joints] == [(2, 21, 3)] * TINY.stacks
    depth_of_first, depth_of_last = (head.maps.bias for head in (network.joints[0], network.joints[-1]))
    with torch.no_grad():
        depth_of_last[21:] += 1.0  # every joint a quarter of a hand length further away
        after = network(crops)
        torch.testing.assert_close(after.final.relief, before.final.relief + 0.25, atol=1e-4, rtol=0)
        assert torch.equal(after.stages[-1].relief, before.stages[-1].relief)
        depth_of_first[21:] += 1.0
        assert not torch.equal(network(crops).stages[-1].relief, before.stages[-1].relief)


def test_joint_heads_get_gradients() -> None:
    network = HandDepthNet(dataclasses.replace(TINY, joints=True)).train()
    side = TINY.crop_size
    truth = {
        "mask": torch.ones(2, side, side, dtype=torch.uint8),
        "relief": torch.zeros(2, side, side),
        "joints": torch.rand(2, 21, 3) - 0.5,
        "scalars": torch.zeros(2, 3),
        "weight": torch.ones(2),
    }
    loss, parts = total_loss(network(torch.rand(2, 3, side, side)), truth)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(parts["joints"]) > 0
    assert all(head.maps.weight.grad.abs().sum() > 0 for head in network.joints)
