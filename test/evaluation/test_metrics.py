"""The measures of accuracy, on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hand_depth_ros.evaluation import metrics
from hand_depth_ros.geometry.boxes import Box, mask_box
from hand_depth_ros.geometry.hand import finger_fraction, hand_length, hand_length_from_finger

NAN = float("nan")


def test_depth_errors_match_numbers_worked_out_by_hand() -> None:
    true = np.array([0.400, 0.400, 0.400, 0.500, 0.500, NAN, 0.0, 0.4])
    predicted = np.array([0.410, 0.412, 0.406, 0.510, 0.462, 0.4, 0.4, NAN])
    errors = metrics.depth_errors(predicted, true)
    # errors 10, 12, 6, 10, -38 mm; their median 10; left after it 0, 2, 4, 0, 48
    assert errors is not None and errors.count == 5
    assert errors.mae_mm == pytest.approx((10 + 12 + 6 + 10 + 38) / 5)
    assert errors.median_mm == pytest.approx(10)
    assert errors.rmse_mm == pytest.approx(math.sqrt((100 + 144 + 36 + 100 + 1444) / 5))
    assert errors.shape_mm == pytest.approx((0 + 2 + 4 + 0 + 48) / 5)
    assert errors.abs_rel == pytest.approx((10 / 400 + 12 / 400 + 6 / 400 + 10 / 500 + 38 / 500) / 5)
    assert metrics.depth_errors(np.array([NAN]), np.array([0.4])) is None


def test_shape_error_ignores_a_shift_and_equals_the_oracles_for_a_constant_depth() -> None:
    true = np.array([0.30, 0.31, 0.33, 0.40])
    shifted = metrics.depth_errors(true + 0.05, true)
    assert shifted is not None and shifted.shape_mm == pytest.approx(0, abs=1e-9)
    assert shifted.mae_mm == pytest.approx(50)
    flat = metrics.depth_errors(np.full(4, 0.7), true)
    assert flat is not None
    # median 0.32: 20, 10, 10, 80 mm
    assert metrics.constant_depth_shape_mm(true) == pytest.approx(30) == pytest.approx(flat.shape_mm)
    assert math.isnan(metrics.constant_depth_shape_mm(np.array([NAN, 0.0])))


def test_scatter_and_gross_errors_ignore_a_common_scale() -> None:
    ratios = [0.9, 1.0, 1.0, 1.1, 1.5, 0.6]
    assert metrics.scatter(ratios) == pytest.approx(np.std(ratios) / np.mean(ratios))
    assert metrics.gross_errors(ratios) == pytest.approx(2 / 6)
    halved = [ratio / 2 for ratio in ratios]
    assert metrics.scatter(halved) == pytest.approx(metrics.scatter(ratios))
    assert metrics.gross_errors(halved) == pytest.approx(2 / 6)


def test_thins_out_depth_pairs_evenly() -> None:
    true = np.arange(1, 2501, dtype=float)
    true[10] = NAN
    pairs = metrics.depth_pairs(2 * true, true, max_pairs=1000)
    assert 800 <= len(pairs) <= 1000 and (pairs[:, 0] == 2 * pairs[:, 1]).all()
    assert pairs[0, 1] == 1 and pairs[-1, 1] > 2490 and metrics.depth_ratio(pairs) == 2
    assert metrics.scaled_mae_mm(pairs, 0.5) == 0
    assert len(metrics.depth_pairs(np.full(3, NAN), np.ones(3))) == 0


def test_coverage_counts_within_one_and_two_sigma() -> None:
    true = np.full(5, 0.4)
    predicted = np.array([0.405, 0.39, 0.415, 0.43, NAN])
    assert metrics.coverage(predicted, true, np.full(5, 0.0101)) == pytest.approx((0.5, 0.75))
    assert metrics.coverage(predicted, true, np.full(5, NAN)) is None


def test_counts_mask_iou_inside_a_region() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:, :2], other[:, 1:3] = True, True
    assert metrics.mask_iou(one, other) == pytest.approx(4 / 12)
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    assert metrics.mask_iou(one, other, left) == pytest.approx(4 / 8)
    assert metrics.mask_iou(one, other, np.zeros((4, 4), bool)) == 1.0


def test_box_of_a_mask_and_iou_of_boxes() -> None:
    mask = np.zeros((10, 10), bool)
    assert mask_box(mask) is None
    mask[2:5, 3:9] = True
    assert mask_box(mask) == (3, 2, 6, 3)
    assert Box(0, 0, 4, 4).iou(Box(2, 0, 4, 4)) == pytest.approx(8 / 24)
    assert Box(0, 0, 1, 1).iou(Box(5, 5, 1, 1)) == 0


def test_matches_the_best_overlaps_first_and_nothing_twice() -> None:
    overlap = np.array([[0.6, 0.5], [0.9, 0.4], [0.2, 0.1]])
    assert metrics.match(overlap, 0.3) == {1: 0, 0: 1}
    assert metrics.match(overlap, 0.55) == {1: 0}
    assert metrics.match(np.zeros((2, 0)), 0.3) == {}


def test_median_around_a_joint_skips_holes_and_stays_in_the_image() -> None:
    values = np.full((10, 12), NAN)
    values[4:6, 4:7] = [[1, 2, 3], [4, 5, 6]]
    values[0, 0] = 9
    pixels = np.array([[5, 4], [5.4, 6.6], [0, 1.9], [11, 9], [-40, 3], [30, 30], [NAN, 0]])
    got = metrics.median_around(values, pixels, 5)
    np.testing.assert_allclose(
        got[:3], [3.5, 5, 9]
    )  # all six; row 5 only (y 7 reaches rows 5..9); the corner
    assert np.isnan(got[3:]).all()


def test_hand_length_runs_along_the_middle_finger() -> None:
    joints = np.zeros((21, 3))
    joints[[9, 10, 11, 12]] = [[0, -0.09, 0], [0, -0.13, 0], [0, -0.13, 0.025], [0, -0.13, 0.045]]
    assert hand_length(joints) == pytest.approx(0.09 + 0.04 + 0.025 + 0.02)


def test_hand_length_from_the_finger_does_not_depend_on_the_wrist() -> None:
    """Mean skeleton of Buryanov and Kotiuk (2010), crease 30 mm before the metacarpal, in whose
    head the MCP joint lies: both ways give the same length.
    """
    joints, head = np.zeros((21, 3)), 7.5
    joints[[9, 10, 11, 12], 1] = -np.cumsum([64.6 + 30 - head, 44.63 + head, 26.33, 17.40 + 3.95]) / 1000
    assert hand_length_from_finger(joints) == pytest.approx(hand_length(joints), rel=0.02)
    before = hand_length_from_finger(joints)
    joints[0, 1] = -0.04  # a wrist annotated inside of the palm
    assert hand_length_from_finger(joints) == before and finger_fraction(joints) > 0.6
