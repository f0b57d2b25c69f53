"""Losses, pseudo labels and training samples, on hands and planes whose depth and outline are known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.drawn_hands import (
    PIXELS_PER_METRE,
    SKIN,
    draw_hand,
    open_hand,
    plane_view,
    write_landmarks,
    write_views,
)
from support.small_networks import TINY, TINY_DETECTOR

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.estimation.detector import decode_boxes
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M
from hand_depth_ros.network import HandDepthNet, HandDetectorNet, StageOutput, save_weights
from hand_depth_ros.network.hourglass import Prediction
from hand_depth_ros.synthesis.units import DEPTH_UNIT_M
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.photographs import RealImage, load_real_images
from hand_depth_ros.training.data.rendered import RenderedHand, RenderedView, load_views
from hand_depth_ros.training.datasets import read_material
from hand_depth_ros.training.labels.pseudo_labels import hand_length, label_hand
from hand_depth_ros.training.modules.joints import joint_loss
from hand_depth_ros.training.modules.losses import total_loss
from hand_depth_ros.training.samples import augment, crops, frames
from hand_depth_ros.training.samples.crops import (
    CropDataset,
    Shape,
    Sources,
    load_backgrounds,
    real_sample,
    rendered_sample,
)

SIDE = 64
SHAPE = Shape(SIDE, SIDE)


def batch(count: int = 2, side: int = 32) -> dict[str, torch.Tensor]:
    """A square hand in every crop, its relief a ramp; a strip whose labels are unknown."""
    mask = torch.zeros(count, side, side, dtype=torch.uint8)
    mask[:, 8:24, 8:24] = 1
    relief = torch.where(mask == 1, torch.linspace(-0.3, 0.3, side).expand(count, side, side), torch.nan)
    mask[:, :, 20:] = 255
    relief[:, :, 20:] = torch.nan
    scalars = torch.tensor([[-0.3, 0.05, 1.0]]).repeat(count, 1)
    return {"mask": mask, "relief": relief, "scalars": scalars, "weight": torch.ones(count)}


def perfect(truth: dict[str, torch.Tensor]) -> Prediction:
    mask = torch.where(truth["mask"] == 1, 9.0, -9.0)[:, None]
    relief = torch.nan_to_num(truth["relief"])[:, None]
    goal = truth["scalars"].nan_to_num()
    log_b = torch.full((len(goal),), -4.0)
    scalars = torch.stack((goal[:, 0], log_b, goal[:, 1], log_b, torch.full_like(log_b, 9.0)), 1)
    return Prediction((), StageOutput(mask, relief, torch.full_like(mask, -4.0)), scalars)


def loss(prediction: Prediction, truth: dict[str, torch.Tensor]) -> float:
    return float(total_loss(prediction, truth)[0])


def with_final(prediction: Prediction, **maps: torch.Tensor) -> Prediction:
    return prediction._replace(final=prediction.final._replace(**maps))


def test_the_truth_has_a_lower_loss_than_anything_beside_it() -> None:
    truth = batch()
    best = perfect(truth)
    final, least = best.final, loss(best, truth)
    assert final.mask is not None and final.relief is not None and final.log_b is not None
    worse = [
        with_final(best, mask=-final.mask),
        with_final(best, mask=0 * final.mask),
        with_final(best, relief=final.relief + 0.05),
        with_final(best, relief=-final.relief),
        with_final(best, log_b=final.log_b + 3),
        best._replace(scalars=best.scalars + torch.tensor([0.1, 0, 0, 0, 0])),
        best._replace(scalars=best.scalars + torch.tensor([0, 0, 0.1, 0, 0])),
        best._replace(scalars=best.scalars * torch.tensor([1, 1, 1, 1, -1.0])),
    ]
    assert all(loss(other, truth) > least + 1e-3 for other in worse)


def test_pixels_that_are_unknown_do_not_count() -> None:
    truth = batch()
    best = perfect(truth)
    unknown = (truth["mask"] == 255)[:, None]
    final = best.final
    assert final.mask is not None and final.relief is not None and final.log_b is not None
    nonsense = with_final(
        best,
        mask=torch.where(unknown, 50.0, final.mask),
        relief=torch.where(unknown, 1e3, final.relief),
        log_b=torch.where(unknown, 1.0, final.log_b),
    )
    assert loss(nonsense, truth) == pytest.approx(loss(best, truth))


def test_numbers_that_are_unknown_do_not_count() -> None:
    truth = batch()
    truth["scalars"][:, 1] = torch.nan
    best = perfect(truth)
    other = best._replace(scalars=best.scalars + torch.tensor([0, 0, 3.0, 1.0, 0]))
    assert loss(other, truth) == pytest.approx(loss(best, truth))


def test_a_sample_without_weight_does_not_count() -> None:
    truth = batch(2)
    truth["weight"] = torch.tensor([1.0, 0.0])
    best = perfect(truth)
    final = best.final
    assert final.mask is not None and final.relief is not None
    flip = torch.tensor([1.0, -1.0])[:, None, None, None]
    other = with_final(best, mask=final.mask * flip, relief=final.relief * flip)
    assert loss(other, truth) == pytest.approx(loss(best, truth))


@pytest.mark.parametrize("known", ["all", "no relief", "nothing"])
def test_every_stage_learns_from_finite_gradients(known: str) -> None:
    torch.manual_seed(0)
    truth = batch(2)
    if known != "all":
        truth["relief"][:] = torch.nan
    if known == "nothing":
        truth["mask"][:] = 255
        truth["scalars"][:, :2] = torch.nan
    network = HandDepthNet(TINY).train()
    total_loss(network(torch.rand(2, 3, 32, 32)), truth)[0].backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in gradients.values())
    if known == "all":
        for stage in range(TINY.stacks):
            assert gradients[f"heads.{stage}.weight"].abs().sum() > 0


def test_without_intermediate_supervision_only_the_end_counts() -> None:
    truth = batch()
    best = perfect(truth)
    wrong = StageOutput(torch.full((2, 1, 8, 8), 9.0), None, None)
    assert float(total_loss(best._replace(stages=(wrong,)), truth, False)[0]) == pytest.approx(
        loss(best, truth)
    )
    assert float(total_loss(best._replace(stages=(wrong,)), truth, True)[0]) > loss(best, truth) + 0.1


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_photographs_sizes_count_as_much_as_the_config_says() -> None:
    """Of two photographs and two rendered hands; how much a size counts is how much the loss grows when it is far off."""
    pytest.importorskip("lightning", reason="training needs the extra 'train'")
    from hand_depth_ros.training.modules.depth import DepthTraining

    def loss(module: DepthTraining, photographs: float, rendered: float) -> float:
        torch.manual_seed(0)
        rgb = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        truth = {**batch(4), "rgb": rgb, "real": torch.tensor([1.0, 1.0, 0.0, 0.0])}
        truth["scalars"][:, 0] = torch.tensor([photographs, photographs, rendered, rendered])
        with torch.no_grad():
            return float(module.eval().training_step(truth, 0))

    counts = {}
    for weight in (0.0, 0.5, 1.0):
        config = TrainConfig(network=dataclasses.asdict(TINY), real_weight=0.8, real_size_weight=weight)
        torch.manual_seed(0)
        module = DepthTraining(config, Sources([], [], []), {})
        start = loss(module, 10.0, 10.0)
        counts[weight] = (loss(module, 11.0, 10.0) - start) / (loss(module, 10.0, 11.0) - start)
    assert counts == pytest.approx({0.0: 0.0, 0.5: 0.8 * 0.5, 1.0: 0.8}, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_detectors_targets_are_read_back_as_the_boxes_they_came_from(seed: int) -> None:
    pytest.importorskip("lightning", reason="training needs the extra 'train'")
    from hand_depth_ros.training.modules.detector import targets

    rng = np.random.default_rng(seed)
    low = np.array([[12, 12], [110, 20], [60, 100]]) + rng.uniform(0, 20, (3, 2))
    size = rng.uniform(15, 45, (3, 2))
    first, last = np.floor(low), np.floor(low + size)  # pixels of the box, both within it
    boxes = np.full((1, 8, 4), np.nan, np.float32)
    boxes[0, :3] = np.hstack(((first + last) / 2, last - first + 1))
    heat, values, _ = targets(torch.from_numpy(boxes), 160, 192)
    found, scores = decode_boxes(torch.logit(heat[0], 1e-4), values[0], 0.9, 8)
    order = np.lexsort(found.T[::-1])
    expected = np.hstack((first, last - first + 1))
    np.testing.assert_allclose(found[order], expected[np.lexsort(expected.T[::-1])], atol=1e-2)
    assert (scores > 0.99).all()


def test_a_drawn_hand_is_labelled_where_it_is() -> None:
    px, world = open_hand(tilt=0.6)
    picture, hand = draw_hand(px)
    label = label_hand(picture, px, world)
    assert label is not None and label.weight > 0.3
    h, w = label.mask.shape
    truth = hand[label.y : label.y + h, label.x : label.x + w]
    known = label.mask != 255
    iou = (truth & known & (label.mask == 1)).sum() / ((truth | (label.mask == 1)) & known).sum()
    assert iou > 0.8 and truth.sum() > 0.95 * hand.sum()
    below = int(px[0, 1] - label.y + 0.06 * hand_length(world) * PIXELS_PER_METRE)
    assert not (label.mask[below:] == 1).any()  # the forearm is no hand


def test_a_drawn_hands_relief_is_its_tilt_in_hand_lengths() -> None:
    px, world = open_hand(tilt=0.6)
    label = label_hand(draw_hand(px)[0], px, world)
    assert label is not None
    bones = sum(np.linalg.norm(world[b] - world[a]) for a, b in ((0, 9), (9, 10), (10, 11), (11, 12)))
    length = np.exp(label.log_length_px) / PIXELS_PER_METRE
    assert length == pytest.approx(hand_length(world))
    assert 1.0 <= length / bones < 1.2  # the landmarks end short of the wrist's crease and of the tip

    def relief(joint: int) -> float:
        x, y = np.round(px[joint]).astype(int) - (label.x, label.y)
        return float(np.nanmedian(label.relief[y - 2 : y + 3, x - 2 : x + 3]))

    for near, far in ((5, 17), (6, 18), (9, 13)):  # the index's side is nearer
        expected = (world[far, 2] - world[near, 2]) / length
        assert relief(far) - relief(near) == pytest.approx(expected, abs=0.03)
    assert np.nanmedian(label.relief) == pytest.approx(0, abs=1e-5)
    assert np.array_equal(np.isfinite(label.relief) & (label.mask != 1), np.zeros_like(label.mask, bool))


def test_a_hand_too_small_or_out_of_the_picture_has_no_labels() -> None:
    px, world = open_hand()
    picture, _ = draw_hand(px)
    assert label_hand(picture, px * 0.05, world) is None
    assert label_hand(picture, px + 5000, world) is None


def same(a: RealImage, b: RealImage) -> bool:
    if (
        a.encoded != b.encoded
        or not np.array_equal(a.landmarks, b.landmarks)
        or len(a.labels) != len(b.labels)
    ):
        return False
    return all(
        np.array_equal(p, q, equal_nan=True) if isinstance(p, np.ndarray) else p == q
        for mine, theirs in zip(a.labels, b.labels, strict=True)
        for p, q in zip(mine, theirs, strict=True)
    )


def test_labels_are_made_once_and_read_back_from_the_cache(tmp_path: Path) -> None:
    listing = write_landmarks(tmp_path / "photos")
    made = load_real_images(listing, tmp_path / "cache", workers=1)
    assert [len(image.labels) for image in made] == [1, 0]
    for picture in (tmp_path / "photos").glob("*.jpg"):
        picture.unlink()  # whatever is read now comes from the cache
    read = load_real_images(listing, tmp_path / "cache", workers=1)
    assert len(read) == len(made) and all(map(same, made, read))
    with pytest.raises(DatasetError, match=r"landmarks\.jsonl"):
        load_real_images(tmp_path / "nowhere.jsonl", tmp_path / "cache")


def only_rendered(*views: Any) -> Sources:
    return Sources(list(views), [], [], real_share=0.0, negative_share=0.0)


def nothing_in_front(image: np.ndarray, *_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Instead of ``augment.occlude``."""
    return image, np.zeros(image.shape[:2], np.uint8)


def touches_border(mask: np.ndarray) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def test_samples_of_a_plane_are_that_plane_seen_by_the_crops_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crop's camera is turned and zoomed at random, but distances in space stay. Its focal length follows from how
    far away the points are on average; then their log_b and the plane's distance must be the real ones."""
    monkeypatch.setattr(augment, "occlude", nothing_in_front)
    view, points, distance = plane_view()
    far, log_b = np.linalg.norm(points, axis=1).mean(), points.std(0)
    data = CropDataset(only_rendered(view), SHAPE, 40, seed=1)
    checked = 0
    for sample in (data[i] for i in range(40)):
        seen = (sample["mask"] == 1) & np.isfinite(sample["relief"])
        if touches_border(sample["mask"]):
            continue
        log_apparent_size, log_length, presence = sample["scalars"].tolist()
        length = 0.19 * np.exp(log_length)
        assert length == pytest.approx(0.18, rel=1e-4) and presence == 1
        v, u = np.nonzero(seen)
        relief = sample["relief"][seen].astype(float)
        assert np.median(relief) == pytest.approx(0, abs=1e-3)  # the reference is the hand's median

        def back_projected(f: float) -> np.ndarray:
            z = length * (f / (SIDE * np.exp(log_apparent_size)) + relief)  # noqa: B023
            return np.column_stack(((u - 31.5) / f * z, (v - 31.5) / f * z, z))  # noqa: B023

        low, high = 50.0, 2000.0
        for _ in range(50):
            f = (low + high) / 2
            low, high = (f, high) if np.linalg.norm(back_projected(f), axis=1).mean() < far else (low, f)
        found = back_projected(f)
        assert np.sqrt((found.std(0) ** 2).sum()) == pytest.approx(np.sqrt((log_b**2).sum()), rel=0.01)
        centre = found.mean(0)
        normal = np.linalg.svd(found - centre)[2][2]
        assert abs(normal @ centre) == pytest.approx(distance, rel=0.01)
        assert np.abs((found - centre) @ normal).max() < 0.003
        checked += 1
    assert checked >= 10


def test_a_photographs_crop_is_as_large_as_its_labels_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "occlude", nothing_in_front)
    images = load_real_images(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    label = images[0].labels[0]
    data = CropDataset(Sources([], images, [], real_share=1.0, negative_share=0.0), Shape(96, 96), 20, seed=0)
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


def test_a_photographs_hand_in_front_of_something_else_is_the_same_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("camera", "tone"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
    monkeypatch.setattr(augment, "occlude", nothing_in_front)
    images = load_real_images(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    blue = np.full((96, 96, 3), (0, 0, 255), np.uint8)
    monkeypatch.setattr(augment, "background_crop", lambda *_: blue)
    samples = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(crops, "_ELSEWHERE", share)
        sources = Sources([], images, [], real_share=1.0, negative_share=0.0)
        samples[share] = real_sample(images[0], sources, Shape(96, 96), np.random.default_rng(2))
    at_home, elsewhere = samples[0.0], samples[1.0]
    assert at_home is not None and elsewhere is not None
    picture, mask = elsewhere["rgb"].transpose(1, 2, 0), elsewhere["mask"]
    hand = cv2.erode((mask == 1).astype(np.uint8), np.ones((5, 5))) > 0
    away = cv2.dilate((mask != 0).astype(np.uint8), np.ones((5, 5))) == 0
    assert hand.sum() > 300 and away.sum() > 300
    assert (picture[away] == (0, 0, 255)).all()
    np.testing.assert_array_equal(picture[hand], at_home["rgb"].transpose(1, 2, 0)[hand])
    np.testing.assert_allclose(elsewhere["relief"][hand], at_home["relief"][hand], atol=1e-3)
    assert np.isfinite(elsewhere["relief"]).sum() > 0.9 * np.isfinite(at_home["relief"]).sum()


def test_what_a_detector_takes_for_a_hand_is_shown_to_the_network_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("camera", "tone"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
    monkeypatch.setattr(augment, "occlude", nothing_in_front)
    monkeypatch.setattr(crops, "_MISTAKES", 1.0)
    torch.manual_seed(0)
    save_weights(HandDetectorNet(TINY_DETECTOR), tmp_path / "detector.safetensors", {})
    rooms = [np.zeros((120, 160, 3), np.uint8), np.zeros((90, 90, 3), np.uint8)]
    rooms[1][30:60, 20:70] = (250, 120, 60)
    everywhere = crops.find_mistakes(rooms, tmp_path / "detector.safetensors", threshold=0.0)
    assert set(everywhere[:, 0]) == {0, 1} and everywhere.shape[1] == 5
    assert not len(crops.find_mistakes(rooms, tmp_path / "detector.safetensors", threshold=0.99))
    sources = Sources([], [], rooms, mistakes=np.array([[1.0, 20.0, 30.0, 50.0, 30.0]]))
    for seed in range(5):
        sample = crops.negative_sample(sources, SHAPE, np.random.default_rng(seed))
        orange = (sample["rgb"].transpose(1, 2, 0) == (250, 120, 60)).all(2)
        rows, columns = np.nonzero(orange)
        assert 0.12 < orange.mean() < 0.6  # a box of 50 x 30 with its margin
        assert abs(rows.mean() - 31.5) < 16 and abs(columns.mean() - 31.5) < 16
        assert not sample["mask"].any() and sample["scalars"][2] == 0


def test_samples_have_the_form_that_the_loss_takes() -> None:
    data = CropDataset(
        dataclasses.replace(only_rendered(plane_view()[0]), negative_share=0.5), SHAPE, 12, seed=0
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


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
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


def test_a_pasted_hand_is_in_its_box() -> None:
    view = plane_view()[0]
    pasted = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        boxes: list[np.ndarray] = []
        frame = frames.paste(np.zeros((160, 192, 3), np.uint8), boxes, np.zeros((160, 192), bool), view, rng)
        if not boxes:
            continue
        ys, xs = np.nonzero(frame.max(2) > 0.4 * frame.max())
        expected = ((xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2, np.ptp(xs) + 1, np.ptp(ys) + 1)
        assert tuple(boxes[0]) == pytest.approx(expected, abs=2.5)
        pasted += 1
    assert pasted >= 8


def test_frames_have_boxes_within_reach_and_repeat() -> None:
    sources = Sources([plane_view()[0]], [], [], real_share=0.0, negative_share=0.2)
    data, again = (frames.FrameDataset(sources, (192, 160), 12, seed=0) for _ in range(2))
    counts = []
    for i in range(12):
        sample = data[i]
        assert sample["rgb"].shape == (3, 160, 192) and sample["boxes"].shape == (8, 4)
        known = sample["boxes"][np.isfinite(sample["boxes"][:, 0])]
        assert (known[:, 2:] > 0).all() and (known[:, :2] > -1).all() and (known[:, :2] < (192, 160)).all()
        counts.append(len(known))
        assert np.array_equal(sample["rgb"], again[i]["rgb"])
    assert 0 in counts and max(counts) >= 1


def test_a_rendered_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = write_views(tmp_path / "set", 4)
    train, val = load_views(folder, "train"), load_views(folder, "val")
    assert (len(train), len(val), len(load_views(folder)), len(load_views(folder, "train", 2))) == (
        3,
        1,
        4,
        2,
    )
    truth, _, _ = plane_view(96, 240.0, 0.17)
    view = train[0].decode()
    np.testing.assert_allclose(view.depth_m, truth.depth_m, atol=6e-5)
    assert np.array_equal(view.mask, truth.mask) and np.array_equal(view.rgba, truth.rgba)
    assert view.k == truth.k and view.hands == truth.hands and train[0].size == view.size == (96, 96)
    assert tuple(view.rgba[48, 48]) == (*SKIN, 255)


def write_flat_views(folder: Path) -> Path:
    """Two views in the format of early renders: hand and forearm on an opaque and on a transparent ground."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for i, channels in enumerate((3, 4)):
        hand = plane_view(96, 240.0, 0.17, offset=3.0 * i)[0].mask
        label = np.where(hand > 0, 1, 2 * (rng.random((96, 96)) > 0.5)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (96, 96, channels)).astype(np.uint8))
        cv2.imwrite(str(folder / f"{i}.depth.png"), rng.integers(3000, 5000, (96, 96)).astype(np.uint16))
        cv2.imwrite(str(folder / f"{i}.label.png"), label)
        camera = {"width": 96, "height": 96, "fx": 240, "fy": 240, "cx": 47.5, "cy": 47.5}
        lines.append(json.dumps({"image": f"{i}.png", **camera, "hand_length_m": 0.17 + 0.01 * i}))
    (folder / "cameras.jsonl").write_text("\n".join(lines))
    return folder


def pixels_in_files(folder: Path, name: str, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGBA, depth and mask of a view, read and shrunk without any of the package."""
    if (folder / "rgb").is_dir():
        paths = [folder / part / f"{name}.png" for part in ("rgb", "depth", "mask")]
    else:
        paths = [folder / f"{name}{ending}" for ending in (".png", ".depth.png", ".label.png")]
    colour, depth, mask = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths)
    if colour.shape[2] == 3:
        alpha = np.where(mask > 0, 255, 0).astype(np.uint8)
        colour = np.dstack((colour, alpha))
    if not (folder / "rgb").is_dir():
        mask = (mask == 1).astype(np.uint8)
    unit = 1e-4 if (folder / "rgb").is_dir() else DEPTH_UNIT_M
    rgba, metres = colour[..., [2, 1, 0, 3]], depth.astype(np.float32) * np.float32(unit)
    if scale != 1.0:
        size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
        rgba = cv2.resize(np.ascontiguousarray(rgba), size, interpolation=cv2.INTER_AREA)
        metres, mask = (cv2.resize(x, size, interpolation=cv2.INTER_NEAREST) for x in (metres, mask))
    return rgba, metres, mask


def pointing_view(angle: float) -> RenderedView:
    """A wedge of a slanted plane as the hand, turned clockwise by ``angle`` from upright, narrow at the fingers; its joints lie
    on it."""
    side, f, principal = 200, 400.0, 70.0
    y, x = np.mgrid[:side, :side].astype(float)
    rays = np.stack(((x - principal) / f, (y - principal) / f, np.ones_like(x)), -1)
    depth = 0.42 / (rays @ (np.array([0.35, -0.2, 0.9]) / np.linalg.norm([0.35, -0.2, 0.9])))
    up, right = np.array((np.sin(angle), -np.cos(angle))), np.array((np.cos(angle), np.sin(angle)))
    middle = np.array((110.0, 100.0))
    along, across = (((x - middle[0]) * way[0] + (y - middle[1]) * way[1]) for way in (up, right))
    mask = (np.abs(along) <= 55) & (np.abs(across) <= 22 - 0.2 * along)
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[mask] = (*SKIN, 255)
    far = np.full(21, 5.0)  # the knuckles, and what is not set below
    far[[0, 4, 8, 12, 16, 20]] = -45, 45, 45, 45, 45, 45
    sideways = np.zeros(21)
    sideways[[5, 9, 13, 17]] = -12, -4, 4, 12
    u, v = np.round(middle[:, None] + far * up[:, None] + sideways * right[:, None]).astype(int)
    joints = np.column_stack((u, v, depth[v, u])).astype(np.float32)
    hand = RenderedHand(1, 0.18, joints)
    k = (f, f, principal, principal)
    depth = np.where(mask, depth, 0).astype(np.float32)
    return RenderedView(rgba, depth, mask.astype(np.uint8), k, (hand,), "wedge")


@pytest.fixture
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops as a perfect detector would give them, upright, and nothing that cameras and rooms do to them."""
    monkeypatch.setattr(crops, "_ANY_ROLL", 0.0)
    monkeypatch.setattr(crops, "_ABOUT_UPRIGHT", 0.0)
    monkeypatch.setattr(
        crops, "_jitter", lambda low, high, _: ((low + high) / 2, float((high - low).max()) * crops.MARGIN)
    )
    for name in ("tone", "camera"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
    monkeypatch.setattr(augment, "occlude", nothing_in_front)


def leaning(sample: dict[str, Any]) -> float:
    """By how many degrees a sample's hand is turned clockwise from upright, from its wrist to its middle knuckle."""
    right, down = sample["joints"][[9, 13], :2].mean(0) - sample["joints"][0, :2]
    return float(np.degrees(np.arctan2(right, -down)))


@pytest.mark.parametrize("picture", [SIDE, SIDE * 7 // 4])
@pytest.mark.parametrize("angle", [0.0, np.pi / 2, -np.pi / 2, 2.8])
def test_a_rendered_hand_comes_out_upright_with_all_that_is_known_of_it(
    no_noise: None, angle: float, picture: int
) -> None:
    view = pointing_view(angle)
    blue = np.full((90, 90, 3), (0, 0, 255), np.uint8)
    for seed in range(4):
        sources = dataclasses.replace(only_rendered(view), backgrounds=[blue])
        sample = rendered_sample(
            view, view.hands[0], sources, Shape(SIDE, picture), np.random.default_rng(seed)
        )
        assert sample is not None
        assert abs(leaning(sample)) < 3
        rows, columns = np.nonzero(sample["mask"])
        assert np.ptp(rows) + 1 == pytest.approx(SIDE / 1.35, abs=4)  # not every pixel is looked at
        assert (
            abs(rows.min() + rows.max() - SIDE + 1) < 4 and abs(columns.min() + columns.max() - SIDE + 1) < 4
        )
        wrist_end, tips = (sample["mask"][row].sum() for row in (rows.max() - 3, rows.min() + 3))
        assert wrist_end > 1.8 * tips  # it isn't upside down
        u, v = np.round((sample["joints"][:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
        assert (sample["mask"][v, u] == 1).all()
        np.testing.assert_allclose(sample["joints"][:, 2], sample["relief"][v, u], atol=0.02)
        shown = cv2.resize(sample["mask"], (picture, picture), interpolation=cv2.INTER_NEAREST)
        within, near = cv2.erode(shown, np.ones((5, 5))) > 0, cv2.dilate(shown, np.ones((5, 5))) > 0
        red = sample["rgb"][0].astype(int) - sample["rgb"][2]
        assert red.shape == (picture, picture) and (red[within] > 0).all() and (red[~near] <= 0).all()


WHITE = np.full((90, 90, 3), 200, np.uint8)


def test_an_edge_of_the_frame_cuts_some_hands_and_beyond_it_there_is_nothing(no_noise: None) -> None:
    view = pointing_view(0.0)

    def sample(seed: int, edge_share: float = 1.0) -> dict[str, Any]:
        sources = dataclasses.replace(only_rendered(view), backgrounds=[WHITE], edge_share=edge_share)
        made = rendered_sample(view, view.hands[0], sources, Shape(SIDE, SIDE), np.random.default_rng(seed))
        assert made is not None
        return made

    whole = sample(0, edge_share=0.0)
    assert whole["rgb"].any(0).all()  # the picture goes on around a crop that isn't cut
    lost = []
    for seed in range(12):
        cut = sample(seed)
        black = ~cut["rgb"].any(0)
        assert black.any() and not cut["mask"][black].any() and not np.isfinite(cut["relief"][black]).any()
        assert np.nanmedian(cut["relief"]) == pytest.approx(0, abs=0.02)  # of what is left in the frame
        hand = np.nanmean(np.where(cut["mask"] == 1, cut["rgb"][0].astype(float), np.nan))
        assert hand == pytest.approx(SKIN[0], abs=2)
        f = np.exp(cut["scalars"][0] - whole["scalars"][0])  # how much nearer the crop goes to what is left
        lost.append(1 - cut["mask"].sum() / whole["mask"].sum() / f**2)
    assert min(lost) > 0.02 and max(lost) < 0.9 and max(lost) > 0.3


def test_slivers_of_hands_are_left_out_if_the_config_wants_it(no_noise: None) -> None:
    view = pointing_view(0.0)
    (hand,) = view.hands
    beyond = hand.joints.copy()
    beyond[:16, 0] += 300.0
    sliver = view._replace(hands=(hand._replace(joints=beyond),))  # five of 21 are seen

    def made(view: RenderedView, least_seen: float) -> bool:
        sources = dataclasses.replace(only_rendered(view), least_seen=least_seen)
        sample = rendered_sample(view, view.hands[0], sources, Shape(SIDE, SIDE), np.random.default_rng(0))
        return sample is not None

    assert made(view, 1.0) and made(sliver, 0.0) and made(sliver, 0.23) and not made(sliver, 0.25)


def test_around_a_rendered_frame_there_is_nothing(no_noise: None) -> None:
    whole = pointing_view(0.0)
    fx, fy, cx, cy = whole.k
    frame = whole._replace(  # cut through the fingers: a crop of the rest shows what is above
        rgba=whole.rgba[70:], depth_m=whole.depth_m[70:], mask=whole.mask[70:], k=(fx, fy, cx, cy - 70)
    )
    sources = dataclasses.replace(only_rendered(frame), backgrounds=[WHITE], edge_share=1e-9)
    sample = rendered_sample(frame, frame.hands[0], sources, Shape(SIDE, SIDE), np.random.default_rng(0))
    assert sample is not None
    black = ~sample["rgb"].any(0)
    assert black[:6].all() and not black[12:].any()


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_a_stretched_hand_is_one_of_other_proportions_at_the_same_depths(
    no_noise: None, angle: float
) -> None:
    """By what a sample says, its joints are as far from each other, along the middle finger, as its hand's length says."""
    view = pointing_view(angle)
    away = float(np.median(view.depth_m[view.mask == 1]))

    def finger(sample: dict[str, Any]) -> tuple[float, float]:
        """Its length in hand lengths, and the hand's, metres."""
        length = float(np.exp(sample["scalars"][1]) * MEAN_HAND_LENGTH_M)
        x, y, z = sample["joints"][[0, 9, 10, 11, 12]].T
        wider = np.exp(-sample["scalars"][0]) / 2 * (1 + z * length / away)
        bones = np.diff(np.column_stack((x * wider, y * wider, z)), axis=0)
        return float(np.linalg.norm(bones, axis=1).sum()), length

    def sample(stretch: float, seed: int) -> dict[str, Any]:
        sources = dataclasses.replace(only_rendered(view), stretch=stretch)
        made = rendered_sample(view, view.hands[0], sources, Shape(SIDE, SIDE), np.random.default_rng(seed))
        assert made is not None
        return made

    plain = sample(0.0, 0)
    expected, unstretched = finger(plain)
    assert unstretched == pytest.approx(0.18)
    lengths = []
    for seed in range(6):
        stretched = sample(0.1, seed)
        found, length = finger(stretched)
        lengths.append(length)
        assert found == pytest.approx(expected, rel=0.01)
        u, v = np.round((stretched["joints"][:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
        assert (stretched["mask"][v, u] == 1).all()
        np.testing.assert_allclose(stretched["joints"][:, 2], stretched["relief"][v, u], atol=0.03)
        tip, tip_before = (s["joints"][12, 2] - s["joints"][0, 2] for s in (stretched, plain))
        assert tip * length == pytest.approx(tip_before * 0.18, abs=0.002)  # metres: as in the view
    assert max(lengths) > 0.185 and min(lengths) < 0.175


def test_some_hands_are_turned_anyhow_and_the_others_stand_give_or_take() -> None:
    view = pointing_view(np.pi / 2)
    data = CropDataset(only_rendered(view), SHAPE, 120, seed=0)
    lean = np.abs([leaning(data[i]) for i in range(len(data))])
    assert 0.6 < (lean < 35).mean() < 0.95 and (lean > 90).mean() > 0.05
    assert 5 < np.median(lean) < 20


def test_a_photographed_hand_comes_out_upright(no_noise: None) -> None:
    flat, world = open_hand(0.3)
    upright, _ = draw_hand(flat)
    for turns in range(4):  # quarters, counter-clockwise
        picture, px, there = upright, flat, world
        for _ in range(turns):
            px = np.column_stack((px[:, 1], picture.shape[1] - 1 - px[:, 0]))
            there = np.column_stack((there[:, 1], -there[:, 0], there[:, 2]))
            picture = np.ascontiguousarray(np.rot90(picture))
        label = label_hand(picture, px, there)
        assert label is not None and label.weight > 0.15
        jpeg = cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()
        sources = Sources([], [], [], real_share=1.0, negative_share=0.0)
        image = RealImage(jpeg, (label,), px[None])
        sample = real_sample(image, sources, SHAPE, np.random.default_rng(turns))
        assert sample is not None
        assert abs(leaning(sample)) < 8  # the mean of its knuckles isn't quite above its wrist
        u, v = np.round((sample["joints"][:, :2] + 1) * SIDE / 2 - 0.5).astype(int).T
        assert (sample["mask"][v, u] != 0).mean() > 0.8
        rows, _ = np.nonzero(sample["mask"] == 1)
        assert np.ptp(rows) + 1 == pytest.approx(SIDE / 1.35, abs=3)


def test_a_hand_of_which_only_the_label_is_known_stands_on_its_arm(tmp_path: Path, no_noise: None) -> None:
    folder = write_flat_views(tmp_path / "set")
    label = np.zeros((96, 96), np.uint8)
    label[38:58, 5:40], label[30:66, 40:80] = 3, 1  # it points to the right
    cv2.imwrite(str(folder / "0.label.png"), label)
    with_arm, without = load_views(folder)
    joints = with_arm.hands[0].joints
    assert tuple(joints[0, :2]) == pytest.approx((40, 47.5))
    np.testing.assert_allclose(joints[1:, :2], np.tile((59.5, 47.5), (20, 1)))
    assert np.isnan(without.hands[0].joints).all()
    sources = only_rendered(with_arm)
    sample = rendered_sample(with_arm.decode(), with_arm.hands[0], sources, SHAPE, np.random.default_rng(0))
    assert sample is not None
    assert abs(leaning(sample)) < 3
    u, v = np.round((sample["joints"][0, :2] + 1) * SIDE / 2 - 0.5).astype(int)
    rows, _ = np.nonzero(sample["mask"])
    assert sample["mask"][v - 2, u] == 1 and v == pytest.approx(
        rows.max(), abs=2
    )  # the wrist is its lower edge
    guess = torch.zeros(1, 21, 3)
    assert float(joint_loss(guess, torch.from_numpy(sample["joints"])[None], torch.ones(1))) == 0


@pytest.mark.parametrize("scale", [1.0, 0.6])
@pytest.mark.parametrize("flat", [False, True])
def test_views_are_kept_encoded_and_lose_nothing(tmp_path: Path, flat: bool, scale: float) -> None:
    """The views and the samples drawn from them are those of the pixels in the files, bit for bit."""
    folder = write_flat_views(tmp_path / "set") if flat else write_views(tmp_path / "set", 2)
    stored = load_views(folder, scale=scale)
    decoded = []
    for view in stored:
        assert not any(isinstance(value, np.ndarray) for value in view)
        if not flat:
            assert 4 * len(view.colour + view.depth + view.mask) < view.size[0] * view.size[1] * 9
        rgba, depth_m, mask = pixels_in_files(folder, view.name, scale)
        pixels = view.decode()
        for found, true in ((pixels.rgba, rgba), (pixels.depth_m, depth_m), (pixels.mask, mask)):
            assert found.dtype == true.dtype and np.array_equal(found, true)
        decoded.append(pixels._replace(rgba=rgba, depth_m=depth_m, mask=mask))
    for make in (
        lambda views: CropDataset(Sources(views, [], [], 0.0, 0.0), Shape(48, 48), 8, seed=1),
        lambda views: frames.FrameDataset(Sources(views, [], [], 0.0, 0.0), (96, 80), 8, seed=1),
    ):
        before, now = make(decoded), make(stored)
        for i in range(8):
            for key, value in before[i].items():
                np.testing.assert_array_equal(now[i][key], value, key)


def test_a_set_that_is_named_twice_is_in_memory_once(tmp_path: Path) -> None:
    folder = str(write_views(tmp_path / "set", 4))
    views = read_material(TrainConfig(rendered=(folder, folder)), tmp_path).train_views
    assert len(views) == 6 and all(a is b for a, b in zip(views[:3], views[3:], strict=True))


def test_a_set_that_is_missing_or_broken_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="hand-depth synth --out"):
        load_views(tmp_path)
    folder = write_views(tmp_path / "set", 2)
    (folder / "depth" / "00000.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"00000\.png"):
        load_views(folder)
    cv2.imwrite(str(folder / "depth" / "00000.png"), np.zeros((48, 96), np.uint16))
    with pytest.raises(DatasetError, match="not of one size"):
        load_views(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- 1", "mapping"),
        ("sample: 3", "sample"),
        ("task: hands", "task"),
        ("samples: many", "samples is 'many': a whole number"),
        ("batch: 1.5", "batch is 1.5: a whole number"),
        ("learning_rate: 2e-3", "learning_rate is '2e-3': a number is needed .*2.0e-3"),
        ("learning_rate: -1", "learning_rate must be above 0"),
        ("learning_rate: .nan", "learning_rate must be above 0"),
        ("samples: -5", "samples must be 1 or more"),
        ("batch: 0", "batch must be 1 or more"),
        ("workers: -1", "workers must be 0 or more"),
        ("real_share: 1.5", r"real_share must be in 0\.\.1"),
        ("{real_share: 0.7, negative_share: 0.7}", "more than 1 together"),
        ("{batch: 400, samples: 64}", "a batch of 400 is more than samples"),
        ("{batch: 16, epoch_samples: 8}", "a batch of 16 is more than .* epoch_samples"),
        ("rendered: ../set", "rendered is '../set': a list of paths"),
        ("start_from: [a]", "start_from is .*: one path"),
        ("network: {featurs: 8}", "network: NetworkConfig has no featurs"),
        ("network: {crop_size: 63}", "network: crop_size 63"),
        ("network: {levels: deep}", "network: NetworkConfig.levels"),
        ("{task: detector, network: {input_height: 48}}", "network: .*multiples of 32"),
    ],
)
def test_a_config_file_that_cannot_be_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=reason):
        TrainConfig.read(path)


@pytest.mark.parametrize("key", ["start_from", "backbone_from", "seen_by", "mistakes_of", "backgrounds"])
def test_a_file_that_a_training_needs_and_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    config = TrainConfig(**{key: str(tmp_path / "none")})
    with pytest.raises(DatasetError, match=f"{key}: there is no f.* {tmp_path / 'none'}"):
        config.check_files()
    if key in ("seen_by", "mistakes_of", "backgrounds"):
        config.check_files(packed=True)  # what they gave is in the package


def test_a_folder_of_backgrounds_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no pictures in"):
        load_backgrounds(tmp_path)


def test_paths_of_a_config_file_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "train.yaml"
    path.parent.mkdir()
    path.write_text(
        "{rendered: [../set], landmarks: [real/landmarks.jsonl], backgrounds: ../walls, backbone_from: ../a.tflite}"
    )
    config = TrainConfig.read(path)
    assert config.rendered == (str(tmp_path / "set"),)
    assert config.landmarks == (str(tmp_path / "deep" / "real" / "landmarks.jsonl"),)
    assert config.backgrounds == str(tmp_path / "walls") and config.start_from is None
    assert config.backbone_from == str(tmp_path / "a.tflite")


def test_augmentation_keeps_pictures_pictures() -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64))
    for _ in range(30):
        out = augment.camera(augment.tone(picture, rng), rng)
        assert out.shape == picture.shape and out.dtype == np.uint8
