"""From heat maps to boxes of the frame: known boxes come back where they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_networks import TINY_DETECTOR, FakeDetectorNet

from hand_depth_ros import demo
from hand_depth_ros.estimation.detector import HandDetector, decode_boxes
from hand_depth_ros.estimation.estimator import DETECTOR_FILE, SHIPPED_WEIGHTS
from hand_depth_ros.geometry.boxes import pairwise_iou
from hand_depth_ros.network import DetectorConfig, HandDetectorNet, load_weights
from hand_depth_ros.network.inference import fuse_detector

CPU = torch.device("cpu")
CELL = 8  # input pixels a cell of the heat map is wide


def maps(boxes: list[tuple[float, float, float, float]], h: int = 20, w: int = 24) -> tuple:
    """Return the network's heat map and box map for boxes x, y, width, height in pixels."""
    centre, box = torch.full((1, h, w), -9.0), torch.zeros(4, h, w)
    for number, (x, y, bw, bh) in enumerate(boxes):
        cx, cy = (x + bw / 2) / CELL, (y + bh / 2) / CELL
        column, row = int(cx), int(cy)
        centre[0, row, column] = 3.0 - number
        box[:, row, column] = torch.tensor(
            [cx - (column + 0.5), cy - (row + 0.5), np.log(bw / CELL), np.log(bh / CELL)]
        )
    return centre, box


def test_known_boxes_come_back_best_first() -> None:
    truth = [(20.3, 30.7, 50.0, 40.0), (120.0, 80.0, 24.5, 61.25)]
    boxes, scores = decode_boxes(*maps(truth), 0.35, 4)
    np.testing.assert_allclose(boxes, truth, atol=1e-3)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-3.0, -2.0])), rtol=1e-5)


def test_the_slopes_of_a_peak_are_no_boxes_of_their_own() -> None:
    centre, box = maps([(40.0, 40.0, 60.0, 60.0)])
    centre[0, 7:10, 7:10] = 1.0
    centre[0, 8, 8] = 3.0
    assert len(decode_boxes(centre, box, 0.35, 4)[0]) == 1


def test_what_is_below_the_threshold_does_not_count() -> None:
    centre, box = maps([(20.0, 30.0, 50.0, 40.0), (120.0, 80.0, 24.0, 60.0)])  # scores 0.95, 0.88
    assert len(decode_boxes(centre, box, 0.9, 4)[0]) == 1
    assert len(decode_boxes(centre, box, 0.99, 4)[0]) == 0


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_threshold_give_at_most_the_peaks(threshold: float) -> None:
    centre, box = maps([(20.0, 30.0, 50.0, 40.0)])
    boxes, scores = decode_boxes(centre, box, threshold, 4)
    assert len(boxes) <= 4 and (scores > 0).all()


def test_of_boxes_on_one_hand_the_best_stays() -> None:
    truth = [(40.0, 40.0, 60.0, 60.0), (56.0, 40.0, 60.0, 60.0), (100.0, 40.0, 60.0, 60.0)]  # IoU 0.58, 0
    boxes, _ = decode_boxes(*maps(truth), 0.3, 4)
    np.testing.assert_allclose(boxes, [truth[0], truth[2]], atol=1e-3)


def test_no_more_boxes_than_asked_for() -> None:
    truth = [(10.0 + 40 * i, 60.0, 30.0, 30.0) for i in range(4)]
    boxes, _ = decode_boxes(*maps(truth), 0.3, 2)
    np.testing.assert_allclose(boxes, truth[:2], atol=1e-3)


whole_boxes = st.lists(
    st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 15)] * 2), min_size=1, max_size=4
)


@settings(max_examples=25, deadline=None)
@given(whole_boxes, whole_boxes)
def test_overlaps_are_those_of_counted_pixels(a: list, b: list) -> None:
    def drawn(box: tuple[int, int, int, int]) -> np.ndarray:
        picture = np.zeros((40, 40), bool)
        x, y, w, h = box
        picture[y : y + h, x : x + w] = True
        return picture

    got = pairwise_iou(np.array(a), np.array(b))
    for i, p in enumerate(map(drawn, a)):
        for j, q in enumerate(map(drawn, b)):
            assert got[i, j] == pytest.approx((p & q).sum() / (p | q).sum())


def frame_with_spot(width: int, height: int, middle: tuple[float, float], radius: float) -> np.ndarray:
    """A bright disc on black; ``middle`` counted from the picture's edge."""
    y, x = np.mgrid[:height, :width] + 0.5
    disc = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius**2
    return np.repeat((disc * 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (480, 640), (100, 90), (1921, 1079)])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["numpy", "tensor"])
def test_a_spot_is_found_where_it_is_in_frames_of_any_shape(size: tuple[int, int], as_tensor: bool) -> None:
    width, height = size
    scale = min(192 / width, 160 / height)  # the letter-box keeps the aspect
    middle, side = (0.3 * width, 0.7 * height), 32.0
    rgb = frame_with_spot(width, height, middle, 0.06 * height)
    detector = HandDetector(FakeDetectorNet(DetectorConfig(192, 160), side), CPU)  # type: ignore[arg-type]
    picture = torch.from_numpy(rgb).permute(2, 0, 1) if as_tensor else rgb
    (detection,) = detector.detect(picture)
    x, y, w, h = detection.box
    one = 1.0 / scale  # an input pixel, in frame pixels
    assert (x + w / 2, y + h / 2) == pytest.approx(middle, abs=0.75 * one)
    assert (w, h) == pytest.approx((side / scale, side / scale), rel=0.01)
    assert detection.score == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-4)


def test_the_bars_of_the_letter_box_are_black_and_the_picture_is_not_stretched() -> None:
    inputs = []

    class Looking(FakeDetectorNet):
        def forward(self, rgb: torch.Tensor):
            inputs.append(rgb)
            return super().forward(rgb)

    detector = HandDetector(Looking(DetectorConfig(192, 160)), CPU)  # type: ignore[arg-type]
    detector.detect(np.full((720, 1280, 3), 255, np.uint8))
    (canvas,) = inputs
    assert canvas.shape == (1, 3, 160, 192)
    rows = canvas[0, 0].amax(1)
    assert int((rows > 0).sum()) == 108 and canvas.max() == pytest.approx(1.0)  # 192 * 720 / 1280
    assert not rows[:26].any() and not rows[134:].any()


def test_both_kinds_of_picture_give_the_same_hands() -> None:
    torch.manual_seed(0)
    network = HandDetectorNet(TINY_DETECTOR)
    detector = HandDetector(network, CPU)
    rgb = frame_with_spot(160, 120, (60, 70), 30)
    a = detector.detect(rgb, threshold=0.0, max_detections=1)
    b = detector.detect(torch.from_numpy(rgb).permute(2, 0, 1), threshold=0.0, max_detections=1)
    np.testing.assert_allclose(a[0].box, b[0].box, atol=2.0)
    assert a[0].score == pytest.approx(b[0].score, abs=0.01)


def test_in_bfloat16_the_shipped_detector_finds_the_same_hands() -> None:
    detectors = []
    for dtype in (torch.float32, torch.bfloat16):
        network, _ = load_weights(SHIPPED_WEIGHTS / DETECTOR_FILE, HandDetectorNet)
        detectors.append(HandDetector(fuse_detector(network.eval(), CPU, dtype), CPU, dtype))
    pictures = sorted((Path(demo.__file__).parent / "clip" / "rgb").glob("*.jpg"))[::10]
    count = 0
    for path in pictures:
        rgb = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        exact, quick = (detector.detect(rgb, threshold=0.4) for detector in detectors)
        near = detectors[1].detect(rgb, threshold=0.3)
        for box, score in exact:
            same = pairwise_iou(np.array(box), np.array([found.box for found in near]))[0]
            assert same.max() > 0.9 and near[same.argmax()].score == pytest.approx(score, abs=0.06)
        assert len(quick) <= len(detectors[0].detect(rgb, threshold=0.3))
        count += len(exact)
    assert len(pictures) >= 3 and count >= 3


def test_a_picture_without_a_hand_has_none() -> None:
    detector = HandDetector(FakeDetectorNet(), CPU)  # type: ignore[arg-type]
    assert detector.detect(np.zeros((480, 640, 3), np.uint8)) == []
