"""Relabelled photographs: usual proportions give the apparent size, whatever a network predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.drawn_hands import open_hand, write_landmarks

from hand_depth_ros.network import HandDepthNet, NetworkConfig, save_weights
from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.labels import skeleton_fit as skeleton
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.labels.pseudo_labels import hand_length
from hand_depth_ros.training.samples.crops import planar_rotation

LENGTH_PX = 150.0


def hands(count: int, rng: np.random.Generator) -> tuple[skeleton.HandFits, np.ndarray]:
    """Return exact joints of a hand turned `count` ways, and its bones (24,) in hand lengths."""
    _, flat = open_hand()
    flat = flat / hand_length(flat)
    places, depths = [], []
    for _ in range(count):
        bent = flat.copy()
        for tip in (8, 12, 16, 20):  # the two outer bones of a finger, tilted away: a bone keeps its length
            for joint in (tip - 1, tip):
                angle, bone = rng.uniform(0, 1.0), flat[joint] - flat[joint - 1]
                bent[joint] = (
                    bent[joint - 1] + bone * np.cos(angle) + [0, 0, np.linalg.norm(bone) * np.sin(angle)]
                )
        turn, _ = cv2.Rodrigues(rng.normal(0, 0.35, 3))
        turned = bent @ turn.T
        turned[:, 2] -= np.median(turned[:, 2])
        across = turned[:, :2] / (1 + turned[:, 2:] / skeleton._DISTANCE)
        places.append(across * LENGTH_PX + 100.0)
        depths.append(turned[:, 2])
    usual = np.linalg.norm(flat[skeleton.BONES[:, 0]] - flat[skeleton.BONES[:, 1]], axis=1)
    return skeleton.HandFits(np.array(places), np.array(depths), np.full(count, np.log(LENGTH_PX))), usual


def test_bones_are_those_of_the_hand_however_it_is_turned() -> None:
    seen, usual = hands(5, np.random.default_rng(0))
    assert np.abs(skeleton.bone_lengths(seen)[:, :4] - usual[:4]).max() < 0.02
    assert usual[[8, 9, 10, 11]].sum() == pytest.approx(1.0)


def test_a_wrong_size_is_told_by_the_bones() -> None:
    rng = np.random.default_rng(1)
    seen, usual = hands(60, rng)
    off = rng.normal(0, 0.12, 60)
    wrong = seen._replace(
        log_length_px=seen.log_length_px + off,
        depths=seen.depths + rng.normal(0, 0.03, seen.depths.shape),
        places=seen.places + rng.normal(0, 0.012 * LENGTH_PX, seen.places.shape),
    )
    fitted = skeleton.fit(wrong, usual)
    assert np.abs(fitted.log_length_px - seen.log_length_px).mean() < 0.35 * np.abs(off).mean()
    assert np.abs(fitted.depths - seen.depths).mean() < np.abs(wrong.depths - seen.depths).mean()


def test_proportions_have_the_unit_of_the_other_estimate() -> None:
    """One estimate is a fifth too large for every hand: the other one gives their length."""
    rng = np.random.default_rng(2)
    seen, usual = hands(60, rng)
    told = seen.log_length_px + rng.normal(0, 0.1, 60)
    larger = seen._replace(log_length_px=seen.log_length_px + 0.18)
    found = skeleton.proportions(larger, told)
    assert np.median(found / usual) == pytest.approx(1.0, abs=0.05)
    fitted = skeleton.fit(larger, found)
    assert np.median(fitted.log_length_px - seen.log_length_px) == pytest.approx(0.0, abs=0.05)


def test_a_crop_is_led_back_to_the_photograph() -> None:
    place, side, zoom = np.array([130.0, 90.0]), 128, 0.7
    to_crop = skeleton.similarity(0.4, np.array([120.0, 80.0]), zoom, side)
    in_crop = (planar_rotation(0.4) @ (place - (120.0, 80.0)) * zoom) / (side / 2)
    for mirrored in (False, True):
        joints = np.tile([-in_crop[0] if mirrored else in_crop[0], in_crop[1], 0.1], (21, 1))
        places, depths, size = skeleton._to_photograph(joints, np.log(0.5), to_crop, mirrored, side)
        assert np.allclose(places, place) and np.allclose(depths, 0.1)
        assert size == pytest.approx(np.log(0.5 * side / zoom))


def test_labels_are_fitted_anew_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is untrained, so its prediction is replaced by that of a trained one."""
    torch.manual_seed(0)
    really_see = skeleton.predict

    def see(images: Sequence[Photograph], network: HandDepthNet) -> skeleton.HandFits:
        seen = really_see(images, network)
        ((label,), _) = (image.labels for image in images)
        assert (
            seen.places.shape == (1, 21, 2)
            and seen.depths.shape == (1, 21)
            and seen.log_length_px.shape == (1,)
        )
        return skeleton.HandFits(
            label.joints[None, :, :2] + 2.0, seen.depths, np.array([label.log_length_px + 0.1])
        )

    monkeypatch.setattr(skeleton, "see", see)
    config = NetworkConfig(crop_size=64, stacks=2, features=16, levels=2, joints=True)
    save_weights(HandDepthNet(config).eval(), tmp_path / "eye.safetensors")
    landmarks = write_landmarks(tmp_path / "photographs")
    (before,), wall = (image.labels for image in load_photographs(landmarks, tmp_path / "cache", 1))
    again = load_photographs(landmarks, tmp_path / "cache", 1, relabel_with=tmp_path / "eye.safetensors")
    (after,) = again[0].labels
    assert not wall and not again[1].labels
    assert (after.mask == before.mask).all() and after.weight == before.weight
    assert not np.allclose(after.joints, before.joints)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    from_cache = load_photographs(landmarks, tmp_path / "cache", 1, relabel_with=tmp_path / "eye.safetensors")
    assert np.array_equal(from_cache[0].labels[0].joints, after.joints)


def test_what_cannot_be_the_masks_hand_leaves_the_label_alone(tmp_path: Path) -> None:
    (label,) = load_photographs(write_landmarks(tmp_path / "photographs"), tmp_path / "cache", 1)[0].labels
    elsewhere = label.joints[:, :2] + 500.0
    assert skeleton._refit(label, elsewhere, np.zeros(21), label.log_length_px) is label
    moved = skeleton._refit(label, label.joints[:, :2], label.joints[:, 2], label.log_length_px + 0.05)
    assert moved.log_length_px == pytest.approx(label.log_length_px + 0.05)
    assert float(np.nanmedian(moved.relief)) == pytest.approx(0.0, abs=1e-6)
