"""Crop samples of planes, photographs and backgrounds whose labels are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.crop_samples import SHAPE, SIDE, leaning, only_rendered, pointing_view, touches_border
from support.drawn_hands import draw_hand, open_hand, plane_view, write_landmarks
from support.small_networks import TINY_DETECTOR

from hand_depth_ros.network import HandDetectorNet, save_weights
from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.labels.pseudo_labels import label_hand
from hand_depth_ros.training.samples import augment, crops
from hand_depth_ros.training.samples.crops import CropDataset, photograph_sample
from hand_depth_ros.training.samples.training_data import TrainingData, find_hard_negatives
from hand_depth_ros.training.samples.warp import CropShape


def test_samples_of_plane_are_that_plane_in_crop_camera(no_occluders: None) -> None:
    """Random turns and zooms keep distances in space.

    The focal length follows from the points' mean distance; then their spread and the distance of
    the plane must be the real ones.
    """
    view, points, distance = plane_view()
    far, spread = np.linalg.norm(points, axis=1).mean(), points.std(0)
    data = CropDataset(only_rendered(view), SHAPE, 40, seed=1)
    checked = 0
    for sample in (data[i] for i in range(40)):
        known = (sample["mask"] == 1) & np.isfinite(sample["relief"])
        if touches_border(sample["mask"]):
            continue
        log_apparent_size, log_length, presence = sample["scalars"].tolist()
        length = 0.19 * np.exp(log_length)
        assert length == pytest.approx(0.18, rel=1e-4) and presence == 1
        v, u = np.nonzero(known)
        relief = sample["relief"][known].astype(float)
        assert np.median(relief) == pytest.approx(0, abs=1e-3)  # the reference is the hand's median

        def back_projected(f: float) -> np.ndarray:
            z = length * (f / (SIDE * np.exp(log_apparent_size)) + relief)  # noqa: B023
            return np.column_stack(((u - 31.5) / f * z, (v - 31.5) / f * z, z))  # noqa: B023

        low, high = 50.0, 2000.0
        for _ in range(50):
            f = (low + high) / 2
            low, high = (f, high) if np.linalg.norm(back_projected(f), axis=1).mean() < far else (low, f)
        found = back_projected(f)
        assert np.sqrt((found.std(0) ** 2).sum()) == pytest.approx(np.sqrt((spread**2).sum()), rel=0.01)
        centre = found.mean(0)
        normal = np.linalg.svd(found - centre)[2][2]
        assert abs(normal @ centre) == pytest.approx(distance, rel=0.01)
        assert np.abs((found - centre) @ normal).max() < 0.003
        checked += 1
    assert checked >= 10


def test_apparent_size_of_photograph_crop_matches_its_zoom(tmp_path: Path, no_occluders: None) -> None:
    images = load_photographs(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    label = images[0].labels[0]
    data = CropDataset(
        TrainingData([], images, [], real_fraction=1.0, negative_fraction=0.0), CropShape(96, 96), 20, seed=0
    )
    checked = 0
    for sample in (data[i] for i in range(20)):
        hand = sample["mask"] == 1
        if touches_border(hand):
            continue
        zoom = np.sqrt(hand.sum() / (label.mask == 1).sum())
        assert sample["scalars"][0] == pytest.approx(label.log_length_px + np.log(zoom / 96), abs=0.03)
        assert np.isnan(sample["scalars"][1]) and sample["real"] == 1
        assert np.nanmin(sample["relief"]) == pytest.approx(np.nanmin(label.relief), abs=0.08)
        checked += 1
    assert checked >= 8


def test_new_background_leaves_photographed_hand_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_occluders: None
) -> None:
    for name in ("degrade", "tone"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
    images = load_photographs(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    blue = np.full((96, 96, 3), (0, 0, 255), np.uint8)
    monkeypatch.setattr(augment, "background_crop", lambda *_: blue)
    samples = {}
    for probability in (0.0, 1.0):
        monkeypatch.setattr(crops, "_NEW_BACKGROUND_PROB", probability)
        data = TrainingData([], images, [], real_fraction=1.0, negative_fraction=0.0)
        samples[probability] = photograph_sample(images[0], data, CropShape(96, 96), np.random.default_rng(2))
    at_home, elsewhere = samples[0.0], samples[1.0]
    assert at_home is not None and elsewhere is not None
    pixels, mask = elsewhere["rgb"].transpose(1, 2, 0), elsewhere["mask"]
    hand = cv2.erode((mask == 1).astype(np.uint8), np.ones((5, 5))) > 0
    away = cv2.dilate((mask != 0).astype(np.uint8), np.ones((5, 5))) == 0
    assert hand.sum() > 300 and away.sum() > 300
    assert (pixels[away] == (0, 0, 255)).all()
    np.testing.assert_array_equal(pixels[hand], at_home["rgb"].transpose(1, 2, 0)[hand])
    np.testing.assert_allclose(elsewhere["relief"][hand], at_home["relief"][hand], atol=1e-3)
    assert np.isfinite(elsewhere["relief"]).sum() > 0.9 * np.isfinite(at_home["relief"]).sum()


def test_hard_negatives_become_samples_without_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_occluders: None
) -> None:
    for name in ("degrade", "tone"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
    monkeypatch.setattr(crops, "_HARD_NEGATIVE_FRACTION", 1.0)
    torch.manual_seed(0)
    save_weights(HandDetectorNet(TINY_DETECTOR), tmp_path / "detector.safetensors", {})
    rooms = [np.zeros((120, 160, 3), np.uint8), np.zeros((90, 90, 3), np.uint8)]
    rooms[1][30:60, 20:70] = (250, 120, 60)
    everywhere = find_hard_negatives(rooms, tmp_path / "detector.safetensors", threshold=0.0)
    assert set(everywhere[:, 0]) == {0, 1} and everywhere.shape[1] == 5
    assert not len(find_hard_negatives(rooms, tmp_path / "detector.safetensors", threshold=0.99))
    data = TrainingData([], [], rooms, hard_negatives=np.array([[1.0, 20.0, 30.0, 50.0, 30.0]]))
    for seed in range(5):
        sample = crops.negative_sample(data, SHAPE, np.random.default_rng(seed))
        orange = (sample["rgb"].transpose(1, 2, 0) == (250, 120, 60)).all(2)
        rows, columns = np.nonzero(orange)
        assert 0.12 < orange.mean() < 0.6  # a box of 50 x 30 with its margin
        assert abs(rows.mean() - 31.5) < 16 and abs(columns.mean() - 31.5) < 16
        assert not sample["mask"].any() and sample["scalars"][2] == 0


def test_samples_have_documented_types_and_values() -> None:
    data = CropDataset(
        dataclasses.replace(only_rendered(plane_view()[0]), negative_fraction=0.5), SHAPE, 12, seed=0
    )
    samples = [data[i] for i in range(len(data))]
    assert {float(s["scalars"][2]) for s in samples} == {0.0, 1.0}
    for sample in samples:
        assert sample["rgb"].shape == (3, SIDE, SIDE) and sample["rgb"].dtype == np.uint8
        assert sample["mask"].dtype == np.uint8 and set(np.unique(sample["mask"])) <= {0, 1, 255}
        assert sample["relief"].dtype == np.float32
        assert not np.isfinite(sample["relief"][sample["mask"] != 1]).any()
        if sample["scalars"][2] == 0:
            assert not sample["mask"].any() and np.isnan(sample["scalars"][:2]).all()


def test_sample_depends_on_seed_epoch_and_index_alone() -> None:
    def sample(seed: int, epoch: int, index: int, *before: int) -> np.ndarray:
        data = CropDataset(only_rendered(plane_view()[0]), SHAPE, 8, seed)
        data.epoch = epoch
        for other in before:
            data[other]
        return data[index]["rgb"]

    first = sample(1, 2, 3)
    assert np.array_equal(first, sample(1, 2, 3, 0, 5, 7))
    others = [sample(2, 2, 3), sample(1, 3, 3), sample(1, 2, 4)]
    assert not any(np.array_equal(first, other) for other in others)


def test_most_hands_are_about_upright_and_some_at_any_roll() -> None:
    view = pointing_view(np.pi / 2)
    data = CropDataset(only_rendered(view), SHAPE, 120, seed=0)
    lean = np.abs([leaning(data[i]) for i in range(len(data))])
    assert 0.6 < (lean < 35).mean() < 0.95 and (lean > 90).mean() > 0.05
    assert 5 < np.median(lean) < 20


def test_photographed_hand_is_upright(no_noise: None) -> None:
    flat, world = open_hand(0.3)
    upright, _ = draw_hand(flat)
    for turns in range(4):  # quarters, counter-clockwise
        pixels, px, there = upright, flat, world
        for _ in range(turns):
            px = np.column_stack((px[:, 1], pixels.shape[1] - 1 - px[:, 0]))
            there = np.column_stack((there[:, 1], -there[:, 0], there[:, 2]))
            pixels = np.ascontiguousarray(np.rot90(pixels))
        label = label_hand(pixels, px, there)
        assert label is not None and label.weight > 0.15
        jpeg = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
        data = TrainingData([], [], [], real_fraction=1.0, negative_fraction=0.0)
        image = Photograph(jpeg, (label,), px[None])
        sample = photograph_sample(image, data, SHAPE, np.random.default_rng(turns))
        assert sample is not None
        assert abs(leaning(sample)) < 8  # the mean of its knuckles isn't quite above its wrist
        u, v = np.round((sample["joints"][:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
        assert (sample["mask"][v, u] != 0).mean() > 0.8
        rows, _ = np.nonzero(sample["mask"] == 1)
        assert np.ptp(rows) + 1 == pytest.approx(SIDE / 1.35, abs=3)
