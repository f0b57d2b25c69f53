"""Recordings with labels beside their images: tiny sets written here, numbers known before the
files are written.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.cli import evaluate_dataset
from hand_depth_ros.evaluation.readers import open_dataset

SHAPE = (48, 64)
CAMERA = {"width": 64, "height": 48, "fx": 60, "fy": 60, "cx": 32, "cy": 24}


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


class Answers:
    """A fake estimator that gives the n-th image the n-th answer: masks and their depths (m)."""

    def __init__(self, *answers: list[tuple[np.ndarray, float]]) -> None:
        self.answers = list(answers)
        self.rois: list[Any] = []

    def estimate(self, rgb, camera, rois=None, hand_length_m=None, *, track=True) -> SimpleNamespace:
        self.rois.append(rois)
        depth, mask = np.full(SHAPE, np.nan, np.float32), np.zeros(SHAPE, np.uint8)
        hands = []
        for number, (pixels, value) in enumerate(self.answers[rgb[0, 0, 0] // 10], 1):
            depth[pixels], mask[pixels] = value, number
            hands.append(SimpleNamespace(id=number, hand_length_m=0.19, score=pixels.sum() / pixels.size))
        sigma = np.where(mask > 0, np.float32(0.01), np.float32(np.nan))
        return SimpleNamespace(depth=depth, sigma=sigma, mask=mask, hands=tuple(hands))


def write_set(folder: Path, count: int, **labels: list[np.ndarray]) -> Path:
    """Write ``count`` images whose first value is 10 times their number, and label images beside
    them.
    """
    folder.mkdir()
    lines = []
    for i in range(count):
        cv2.imwrite(str(folder / f"take_{i}.png"), np.full((*SHAPE, 3), 10 * i, np.uint8))
        for label, images in labels.items():
            cv2.imwrite(str(folder / f"take_{i}.{label}.png"), images[i])
        lines.append({"image": f"take_{i}.png", **CAMERA})
    write_lines(folder, lines)
    return folder


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "cameras.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def report_of(folder: Path, estimator: Answers, **options: Any) -> dict[str, Any]:
    kept = {key: options.pop(key) for key in ("json", "out", "given_boxes") if key in options}
    data = open_dataset(folder, **options)
    return evaluate_dataset(data, estimator, console=Console(quiet=True), **kept)


@pytest.fixture
def grasp(tmp_path: Path) -> Path:
    """Two images of a hand in two parts with a strip between that nobody labelled; depth 300 and
    400 mm.
    """
    hand = rectangle(10, 10, 20, 30) | rectangle(30, 10, 40, 30)
    mask = np.where(hand, 255, 0).astype(np.uint8)
    mask[rectangle(20, 10, 30, 30)] = 128
    depths = [np.where(hand, value, 0).astype(np.uint16) for value in (3000, 4000)]
    folder = write_set(tmp_path / "grasp", 2, mask=[mask, mask], depth=depths)
    write_lines(
        folder,
        [{"image": f"take_{i}.png", **CAMERA, "hands": [[10, 10, 30, 20]]} for i in range(2)],
    )
    return folder


def test_reads_mask_depth_and_box_of_a_hand_in_parts(grasp: Path) -> None:
    first, second = open_dataset(grasp)
    (hand,) = first.hands
    assert hand.box == (10, 10, 30, 20) and hand.mask.sum() == 400 and hand.joints is None
    np.testing.assert_allclose(hand.depth_m[hand.mask], 0.3, atol=1e-6)
    assert np.isnan(hand.depth_m[~hand.mask]).all()
    assert first.ignore.sum() == 200 and not (first.ignore & hand.mask).any()
    assert first.camera.fx == 60 and second.hands[0].depth_m[15, 15] == pytest.approx(0.4)


def test_ignores_unlabelled_pixels(grasp: Path) -> None:
    """Calling the strip hand, or not, gives the same IoU."""
    whole, parts = rectangle(10, 10, 40, 30), rectangle(10, 10, 20, 30) | rectangle(30, 10, 40, 30)
    report = report_of(grasp, Answers([(whole, 0.3)], [(parts, 0.4)]))
    assert report["mask_iou"] == 1 and report["hands_found"] == 1
    half = report_of(grasp, Answers([(rectangle(10, 10, 30, 30), 0.3)], []))
    assert half["mask_iou"] == pytest.approx((0.5 + 0) / 2) and half["hands_found"] == 0.5


def test_measures_scatter_and_the_error_after_one_common_scale(grasp: Path) -> None:
    """Depth 10 % too near in one image and 10 % too far in the other: factors 0.9 and 1.1, their
    median 1.
    """
    hand = rectangle(10, 10, 40, 30)
    report = report_of(grasp, Answers([(hand, 0.27)], [(hand, 0.44)]))
    assert report["median_depth_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert report["scatter"] == pytest.approx(0.1, abs=1e-6) and report["gross_errors"] == 0
    assert report["common_scale_mae_mm"] == pytest.approx((30 + 40) / 2, abs=1e-3)
    report = report_of(grasp, Answers([(hand, 0.15)], [(hand, 0.2)]))  # half as near: one scale mends it
    assert report["median_depth_ratio"] == pytest.approx(0.5) and report["hand_length_known"] is None
    assert report["scatter"] == pytest.approx(0, abs=1e-6) and report["gross_errors"] == 0
    assert report["common_scale_mae_mm"] == pytest.approx(0, abs=1e-3)


def test_counts_images_with_one_hand_too_many(grasp: Path) -> None:
    hand, other = rectangle(10, 10, 40, 30), rectangle(50, 10, 60, 30)
    report = report_of(grasp, Answers([(hand, 0.3), (other, 0.3)], [(hand, 0.4)]))
    assert report["images_with_invented_hand"] == 0.5 and report["other_hands_per_image"] == 0.5
    report = report_of(grasp, Answers([(other, 0.3)], [(hand, 0.4)]))  # a wrong one, but not one too many
    assert report["images_with_invented_hand"] == 0 and report["other_hands_per_image"] == 0.5


def test_gives_the_boxes_of_all_visible_parts(grasp: Path) -> None:
    estimator = Answers([], [])
    report_of(grasp, estimator, given_boxes=True)
    assert estimator.rois == [[(10, 10, 30, 20)]] * 2


def test_requires_half_of_the_prediction_inside_a_mask_with_an_arm(tmp_path: Path) -> None:
    """An arm of 1200 pixels: a hand at its end is found, one that is mostly beside it or too small
    is not.
    """
    arm = np.where(rectangle(4, 10, 64, 30), 255, 0).astype(np.uint8)
    depth = np.where(arm > 0, 8000, 0).astype(np.uint16)
    folder = write_set(tmp_path / "desk", 4, mask=[arm] * 4, depth=[depth] * 4)
    answers = Answers(
        [(rectangle(4, 10, 24, 34), 0.8)],  # 480 pixels, 400 of them inside
        [(rectangle(4, 25, 44, 45), 0.8)],  # 200 of 800
        [(rectangle(4, 10, 18, 30), 0.8)],  # 280 pixels: too few
        [],
    )
    report = report_of(folder, answers, arm_in_masks=True)
    assert report["hands_found"] == 0.25 and report["mask_iou"] is None
    assert report["mask_precision"] == pytest.approx(400 / 480)
    assert report["median_depth_ratio"] == pytest.approx(1.0)
    assert any("arm" in note for note in report["notes"])
    (folder / "dataset.json").write_text('{"arm_in_masks": true}')
    assert report_of(folder, answers)["hands_found"] == 0.25
    (folder / "dataset.json").write_text("{}")
    assert report_of(folder, answers)["hands_found"] == pytest.approx(0.25)  # by IoU: 0.31, 0.11, 0.23


def test_takes_the_surest_hand_of_an_image_without_labels(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "holding", 3)
    small, large = rectangle(0, 0, 5, 5), rectangle(20, 20, 40, 40)
    answers = Answers([(small, 0.3), (large, 0.5)], [(large, 0.5)], [])
    report = report_of(folder, answers, out=tmp_path / "worst")
    assert report["hands"] == 3 and report["hands_found"] == pytest.approx(2 / 3)
    assert report["other_hands_per_image"] == pytest.approx(1 / 3)
    assert report["hand_length_guessed"] is None and report["scatter"] is None
    assert report["images_with_false_hand"] is None and report["images_with_invented_hand"] is None
    assert any("every image shows a hand" in note for note in report["notes"])
    assert cv2.imread(str(tmp_path / "worst" / "holding_worst.jpg")) is not None
    with pytest.raises(DatasetError, match="measure it without --rois"):
        report_of(folder, answers, given_boxes=True)


def test_compares_scene_depth_inside_the_surest_predicted_mask(tmp_path: Path) -> None:
    """The scene is 600 mm away, 2 m at the mask's right edge, a hole at its left; the prediction
    500 and 720 mm.
    """
    scene = np.full(SHAPE, 600, np.uint16)
    scene[:, 35:], scene[:, :22] = 2000, 0
    folder = write_set(tmp_path / "ego", 2, scene_depth=[scene, scene])
    hand, small = rectangle(20, 20, 40, 40), rectangle(0, 0, 5, 5)
    report = report_of(folder, Answers([(hand, 0.5), (small, 9.0)], [(hand, 0.72)]))
    assert report["hands_found"] == 1 and report["hands_measured"] == 2
    assert report["hand_length_guessed"]["mae_mm"] == pytest.approx((100 + 120) / 2, abs=1e-3)
    assert report["scatter"] == pytest.approx(110 / 610, abs=1e-6)


def test_rejects_broken_sidecars_with_the_reason(grasp: Path) -> None:
    def rejected(names: str) -> None:
        with pytest.raises(DatasetError, match=names):
            list(open_dataset(grasp))

    lines = (grasp / "cameras.jsonl").read_text()
    (grasp / "cameras.jsonl").write_text(lines.replace("[[10, 10, 30, 20]]", "[[1, 2, 3, 4], [5, 6, 7, 8]]"))
    rejected("has 2 boxes, this layout knows one hand")
    (grasp / "cameras.jsonl").write_text(lines.replace("[[10, 10, 30, 20]]", "[[10, 10, 30]]"))
    rejected("x, y, width, height are needed")
    (grasp / "cameras.jsonl").write_text(lines.replace("take_0.png", "lost.png"))
    rejected(r"lost\.png cannot be read")
    (grasp / "cameras.jsonl").write_text(lines)
    cv2.imwrite(str(grasp / "take_0.depth.png"), np.zeros((20, 20), np.uint16))
    rejected(r"take_0\.depth\.png is not a 16-bit image")
    cv2.imwrite(str(grasp / "take_0.mask.png"), np.zeros((20, 20), np.uint8))
    rejected(r"take_0\.mask\.png is not of the color image's size")
