"""Refitted labels of photographs: usual proportions correct a wrong apparent size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.drawn_hands import open_hand, write_landmarks

from hand_depth_ros.geometry.hand import hand_length
from hand_depth_ros.network import HandDepthNet, NetworkConfig, save_weights
from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.labels import skeleton_fit as skeleton
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.samples.warp import planar_rotation, similarity

LENGTH_PX = 150.0


def hands(count: int, rng: np.random.Generator) -> tuple[skeleton.HandFits, np.ndarray]:
    """Return exact joints of a hand turned `count` ways, and its bones (24,) in hand lengths."""
    _, flat = open_hand()
    flat = flat / hand_length(flat)
    positions, depths = [], []
    for _ in range(count):
        bent = flat.copy()
        for tip in (8, 12, 16, 20):  # tilt the outer two bones; they keep their lengths
            for joint in (tip - 1, tip):
                angle, bone = rng.uniform(0, 1.0), flat[joint] - flat[joint - 1]
                bent[joint] = (
                    bent[joint - 1] + bone * np.cos(angle) + [0, 0, np.linalg.norm(bone) * np.sin(angle)]
                )
        turn, _ = cv2.Rodrigues(rng.normal(0, 0.35, 3))
        turned = bent @ turn.T
        turned[:, 2] -= np.median(turned[:, 2])
        across = turned[:, :2] / (1 + turned[:, 2:] / skeleton._DISTANCE)
        positions.append(across * LENGTH_PX + 100.0)
        depths.append(turned[:, 2])
    usual = np.linalg.norm(flat[skeleton.BONES[:, 0]] - flat[skeleton.BONES[:, 1]], axis=1)
    return skeleton.HandFits(np.array(positions), np.array(depths), np.full(count, np.log(LENGTH_PX))), usual


def test_bone_lengths_do_not_depend_on_pose() -> None:
    predicted, usual = hands(5, np.random.default_rng(0))
    assert np.abs(skeleton.bone_lengths(predicted)[:, :4] - usual[:4]).max() < 0.02
    assert usual[[8, 9, 10, 11]].sum() == pytest.approx(1.0)


def test_fit_corrects_wrong_apparent_size() -> None:
    rng = np.random.default_rng(1)
    predicted, usual = hands(60, rng)
    off = rng.normal(0, 0.12, 60)
    wrong = predicted._replace(
        log_length_px=predicted.log_length_px + off,
        depths=predicted.depths + rng.normal(0, 0.03, predicted.depths.shape),
        positions=predicted.positions + rng.normal(0, 0.012 * LENGTH_PX, predicted.positions.shape),
    )
    fitted = skeleton.fit(wrong, usual)
    assert np.abs(fitted.log_length_px - predicted.log_length_px).mean() < 0.35 * np.abs(off).mean()
    assert np.abs(fitted.depths - predicted.depths).mean() < np.abs(wrong.depths - predicted.depths).mean()


def test_proportions_take_unit_from_other_estimate() -> None:
    """Predictions a fifth too large; the other estimate is right in the median."""
    rng = np.random.default_rng(2)
    predicted, usual = hands(60, rng)
    labelled = predicted.log_length_px + rng.normal(0, 0.1, 60)
    larger = predicted._replace(log_length_px=predicted.log_length_px + 0.18)
    found = skeleton.proportions(larger, labelled)
    assert np.median(found / usual) == pytest.approx(1.0, abs=0.05)
    fitted = skeleton.fit(larger, found)
    assert np.median(fitted.log_length_px - predicted.log_length_px) == pytest.approx(0.0, abs=0.05)


def test_joints_of_crop_map_back_to_photograph() -> None:
    place, side, zoom = np.array([130.0, 90.0]), 128, 0.7
    to_crop = similarity(0.4, np.array([120.0, 80.0]), zoom, side)
    in_crop = (planar_rotation(0.4) @ (place - (120.0, 80.0)) * zoom) / (side / 2)
    for mirrored in (False, True):
        joints = np.tile([-in_crop[0] if mirrored else in_crop[0], in_crop[1], 0.1], (21, 1))
        crop = skeleton._Crop(np.zeros((3, side, side), np.uint8), to_crop, mirrored)
        positions, depths, size = skeleton._to_photograph(joints, np.log(0.5), crop, side)
        assert np.allclose(positions, place) and np.allclose(depths, 0.1)
        assert size == pytest.approx(np.log(0.5 * side / zoom))


def test_labels_are_refitted_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is untrained, so a trained one's predictions are put in place of its own."""
    torch.manual_seed(0)
    predict_really = skeleton.predict

    def predict(images: Sequence[Photograph], network: HandDepthNet) -> skeleton.HandFits:
        predicted = predict_really(images, network)
        ((label,), _) = (image.labels for image in images)
        assert (
            predicted.positions.shape == (1, 21, 2)
            and predicted.depths.shape == (1, 21)
            and predicted.log_length_px.shape == (1,)
        )
        return skeleton.HandFits(
            label.joints[None, :, :2] + 2.0, predicted.depths, np.array([label.log_length_px + 0.1])
        )

    monkeypatch.setattr(skeleton, "predict", predict)
    config = NetworkConfig(crop_size=64, stacks=2, features=16, levels=2, joints=True)
    save_weights(HandDepthNet(config).eval(), tmp_path / "network.safetensors")
    landmarks = write_landmarks(tmp_path / "photographs")
    (before,), wall = (image.labels for image in load_photographs(landmarks, tmp_path / "cache", 1))
    again = load_photographs(landmarks, tmp_path / "cache", 1, relabel_with=tmp_path / "network.safetensors")
    (after,) = again[0].labels
    assert not wall and not again[1].labels
    assert (after.mask == before.mask).all() and after.weight == before.weight
    assert not np.allclose(after.joints, before.joints)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    from_cache = load_photographs(
        landmarks, tmp_path / "cache", 1, relabel_with=tmp_path / "network.safetensors"
    )
    assert np.array_equal(from_cache[0].labels[0].joints, after.joints)


def test_fit_of_another_hand_leaves_label_unchanged(tmp_path: Path) -> None:
    (label,) = load_photographs(write_landmarks(tmp_path / "photographs"), tmp_path / "cache", 1)[0].labels
    elsewhere = label.joints[:, :2] + 500.0
    assert skeleton._refit(label, elsewhere, np.zeros(21), label.log_length_px) is label
    moved = skeleton._refit(label, label.joints[:, :2], label.joints[:, 2], label.log_length_px + 0.05)
    assert moved.log_length_px == pytest.approx(label.log_length_px + 0.05)
    assert float(np.nanmedian(moved.relief)) == pytest.approx(0.0, abs=1e-6)
