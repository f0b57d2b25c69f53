"""Frame samples: a box is around all visible parts of one hand, whatever covers or cuts it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.drawn_hands import plane_view, write_landmarks

from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.samples import augment, frames
from hand_depth_ros.training.samples.frame_scene import Scene, centre_box
from hand_depth_ros.training.samples.frames import FrameDataset, label_boxes, occlude_hands, paste_view
from hand_depth_ros.training.samples.training_data import TrainingData

SIZE = (192, 160)


def empty_scene() -> Scene:
    return Scene(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), [])


def noisy_scene() -> Scene:
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    return Scene(noise, [])


def known(boxes: np.ndarray) -> np.ndarray:
    return boxes[np.isfinite(boxes[:, 0])]


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_box_of_pasted_hand_encloses_it() -> None:
    view = plane_view()[0]
    pasted = 0
    for seed in range(12):
        scene = empty_scene()
        paste_view(scene, view, np.random.default_rng(seed))
        box = centre_box(scene.hands[0]) if scene.hands else None
        if box is None:
            continue
        ys, xs = np.nonzero(scene.image.max(2) > 0.4 * scene.image.max())
        expected = ((xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2, np.ptp(xs) + 1, np.ptp(ys) + 1)
        assert tuple(box) == pytest.approx(expected, abs=2.5)
        pasted += 1
    assert pasted >= 8


def test_box_of_hand_in_parts_encloses_all_parts() -> None:
    scene = noisy_scene()
    scene.hands = [rectangle(40, 30, 100, 110)]
    scene.cover(rectangle(0, 50, 192, 70), 90)  # a bar across the hand
    parts, _ = cv2.connectedComponents(scene.hands[0].astype(np.uint8))
    boxes, ignored = label_boxes(scene, [60 * 80])
    assert parts - 1 == 2
    np.testing.assert_allclose(known(boxes), [[69.5, 69.5, 60, 80]])
    assert not len(known(ignored))


def test_small_far_part_counts() -> None:
    scene = noisy_scene()
    finger_end = rectangle(120, 40, 124, 44)
    scene.hands = [rectangle(40, 30, 100, 110) | finger_end]
    boxes, _ = label_boxes(scene, [60 * 80 + 16])
    np.testing.assert_allclose(known(boxes), [[81.5, 69.5, 84, 80]])


def test_covered_part_at_the_end_shrinks_the_box() -> None:
    scene = noisy_scene()
    scene.hands = [rectangle(40, 30, 100, 110)]
    scene.cover(rectangle(0, 90, 192, 160), 0)
    boxes, _ = label_boxes(scene, [60 * 80])
    np.testing.assert_allclose(known(boxes), [[69.5, 59.5, 60, 60]])


def test_hand_that_is_hardly_visible_is_ignored_and_one_that_is_hidden_has_no_box() -> None:
    scene = noisy_scene()
    scene.hands = [rectangle(40, 30, 100, 110), rectangle(110, 30, 150, 60)]
    scene.cover(rectangle(0, 38, 192, 160), 0)
    boxes, ignored = label_boxes(scene, [60 * 80, 40 * 30])
    np.testing.assert_allclose(known(boxes), [[129.5, 33.5, 40, 8]])  # 27 % of it
    np.testing.assert_allclose(known(ignored), [[69.5, 33.5, 60, 8]])  # 10 % of it
    scene.cover(rectangle(0, 0, 192, 160), 0)
    assert not any(len(known(part)) for part in label_boxes(scene, [60 * 80, 40 * 30]))


def test_hand_without_contrast_is_ignored() -> None:
    scene = Scene(np.full((SIZE[1], SIZE[0], 3), 255, np.uint8), [rectangle(40, 30, 100, 110)])
    boxes, ignored = label_boxes(scene, [60 * 80])
    assert not len(known(boxes)) and len(known(ignored)) == 1


def test_occlusion_covers_hands_and_never_adds_pixels() -> None:
    covered = []
    for seed in range(20):
        scene = noisy_scene()
        hand = rectangle(60, 40, 120, 100)
        scene.hands = [hand]
        before = scene.image.copy()
        occlude_hands(scene, [], np.random.default_rng(seed))
        assert not (scene.hands[0] & ~hand).any()
        changed = (scene.image != before).any(2)
        assert not (scene.hands[0] & changed).any()  # what is still visible is as it was
        covered.append(1 - scene.hands[0].sum() / hand.sum())
    assert np.mean(np.array(covered) > 0.05) > 0.5 and max(covered) < 1.0


def test_hands_are_not_pasted_over_each_other() -> None:
    view = plane_view()[0]
    for seed in range(20):
        scene, rng = empty_scene(), np.random.default_rng(seed)
        for _ in range(4):
            paste_view(scene, view, rng)
        for i, hand in enumerate(scene.hands):
            for other in scene.hands[:i]:
                assert not (hand & other).any()


def test_frames_have_boxes_in_the_frame_and_repeat() -> None:
    data = TrainingData(
        [plane_view()[0]],
        [],
        [],
        real_fraction=0.0,
        negative_fraction=0.2,
        occlusion_prob=0.5,
        exposure_prob=0.5,
        motion_blur_prob=0.5,
    )
    dataset, again = (FrameDataset(data, SIZE, 24, seed=0) for _ in range(2))
    counts = []
    for i in range(24):
        sample = dataset[i]
        assert sample["rgb"].shape == (3, 160, 192) and sample["rgb"].dtype == np.uint8
        assert sample["boxes"].shape == sample["ignored"].shape == (8, 4)
        for boxes in (known(sample["boxes"]), known(sample["ignored"])):
            assert (boxes[:, 2:] > 0).all()
            low, high = boxes[:, :2] - boxes[:, 2:] / 2 + 0.5, boxes[:, :2] + boxes[:, 2:] / 2 + 0.5
            assert (low >= 0).all() and (high <= SIZE).all()
        counts.append(len(known(sample["boxes"])))
        assert np.array_equal(sample["rgb"], again[i]["rgb"])
    assert 0 in counts and max(counts) >= 1


def test_photographed_hand_has_a_box_where_it_is_in_the_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tone", "degrade"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
    monkeypatch.setattr(frames, "_CUT_OUT_PROB", 0.0)
    photographs = load_photographs(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    on_skin = []
    for seed in range(20):
        scene = frames.photograph_scene(photographs[0], black, np.random.default_rng(seed))
        red_over_blue = scene.image[..., 0].astype(int) - scene.image[..., 2]
        skin = cv2.erode((red_over_blue > 30).astype(np.uint8), np.ones((3, 3))) > 0
        hand = cv2.erode(scene.hands[0].astype(np.uint8), np.ones((5, 5))) > 0
        if hand.sum() > 100:
            on_skin.append(skin[hand].mean())
    assert len(on_skin) >= 10 and np.median(on_skin) > 0.93 and min(on_skin) > 0.7


@pytest.mark.parametrize("kind", ["pasted photograph", "pasted view"])
def test_pasted_hand_is_labelled_with_its_own_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(augment, "tone", lambda image, *_: image)
    monkeypatch.setattr(frames, "_GOOD_MASK_WEIGHT", 0.0)
    photographs = load_photographs(write_landmarks(tmp_path), tmp_path / "cache", workers=1)
    checked = 0
    for seed in range(16):
        scene, rng = Scene(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), []), np.random.default_rng(seed)
        if kind == "pasted view":
            paste_view(scene, plane_view()[0], rng)
        else:
            frames.paste_photograph(scene, photographs[0], [], rng)
        for hand in scene.hands:
            inner = cv2.erode(hand.astype(np.uint8), np.ones((5, 5))) > 0
            if inner.sum() > 50:
                red_over_blue = scene.image[..., 0].astype(int) - scene.image[..., 2]
                assert (red_over_blue[inner] > 30).mean() > 0.9
                checked += 1
    assert checked >= 8
