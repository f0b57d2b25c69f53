"""Calibration of sigma: errors of a known distribution get the factors that are right for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.fakes import DEPTH_M, FakeEstimator

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation import sigma
from hand_depth_ros.evaluation.samples import Sample, TrueHand
from hand_depth_ros.geometry.boxes import Box
from hand_depth_ros.geometry.camera import Camera


def hands(
    deviation: float, length: float, rest: float, count: int = 60, known: bool = False
) -> list[sigma.HandErrors]:
    """Normal errors of a standard deviation ``deviation`` where sigma's parts claim ``length`` and
    ``rest``.
    """
    rng = np.random.default_rng(int(1e4 * (deviation + length + rest)) + known)
    return [
        sigma.HandErrors(np.abs(rng.normal(0, deviation, 500)), np.full(500, length), np.full(500, rest))
        for _ in range(count)
    ]


def test_factor_makes_sigma_the_standard_deviation_of_gaussian_errors() -> None:
    """Known: errors of 20 mm, claimed 10: twice.

    Guessed: 25 mm, of which the length claims 30: 15 left, half.
    """
    known, guessed = hands(0.020, 0.0, 0.010), hands(0.025, 0.030, 0.010)
    length, rest = sigma.factors(known, guessed)
    assert rest == pytest.approx(2.0, rel=0.1) and length == pytest.approx(0.5, rel=0.25)
    assert sigma.coverage(known, 1.0, rest) == pytest.approx((0.683, 0.954), abs=0.035)
    assert sigma.coverage(guessed, length, rest) == pytest.approx((0.683, 0.954), abs=0.035)


def test_keeps_sigma_that_is_already_right() -> None:
    assert sigma.factors(hands(0.010, 0.0, 0.0105), hands(0.020, 0.017, 0.0105)) == pytest.approx((1.0, 1.0))


def test_brings_laplace_errors_within_both_tolerances() -> None:
    """Heavier tails than a Gaussian's: no factor is right at one and at two sigma, one exists that
    is near enough at both.
    """
    rng = np.random.default_rng(4)
    errors = [
        sigma.HandErrors(np.abs(rng.laplace(0, 0.01 / math.sqrt(2), 500)), np.zeros(500), np.full(500, 0.004))
        for _ in range(60)
    ]
    _, rest = sigma.factors(errors, errors)
    one, two = sigma.coverage(errors, 1.0, rest)
    assert abs(one - 0.683) <= 0.06 and abs(two - 0.954) <= 0.04


def test_rejects_too_few_hands() -> None:
    with pytest.raises(DatasetError, match="9 hands"):
        sigma.factors(hands(0.01, 0.0, 0.01, 9), hands(0.01, 0.01, 0.01))


def test_errors_and_parts_of_sigma_are_those_of_the_estimate() -> None:
    """The fake says 0.5 m, sigma 10 mm, length 0.19 +- 0.01 m: more than sigma, nothing is left for
    the rest.
    """
    camera, rgb = Camera(160, 120, 150.0, 150.0, 80.0, 60.0), np.zeros((120, 160, 3), np.uint8)
    mask = FakeEstimator(max_hands=1).estimate(rgb, camera).mask > 0
    depth = np.where(mask, np.float32(DEPTH_M - 0.03), np.float32(np.nan))
    sample = Sample("a", rgb, camera, (TrueHand((1, 1, 9, 9), mask, depth, hand_length_m=0.18),))
    (found,) = sigma.hand_errors(sample, FakeEstimator(max_hands=1), length=None)
    np.testing.assert_allclose(found.error, 0.03, atol=1e-6)
    np.testing.assert_allclose(found.length, 0.5 * 0.01 / 0.19)
    assert not found.rest.any() and len(found.error) <= 1000
    assert sigma.hand_errors(Sample("b", rgb, camera), FakeEstimator(), length="true") == []


def test_domain_gap_weighs_every_set_the_same() -> None:
    """Errors twice as large as sigma in a small set, as large in a big one: the factor lies
    between.
    """
    small, big = hands(0.020, 0.0, 0.010, 20), hands(0.010, 0.0, 0.010, 200)
    assert sigma.domain_gap([small]) == pytest.approx(2.0, rel=0.1)
    assert sigma.domain_gap([big]) == pytest.approx(1.0, rel=0.1)
    between = sigma.domain_gap([small, big])
    assert 1.2 < between < 1.8
    one, two = sigma.mean_coverage([small, big], between)
    assert one == pytest.approx(np.mean([sigma.coverage(s, 1.0, between)[0] for s in (small, big)]))
    assert two == pytest.approx(np.mean([sigma.coverage(s, 1.0, between)[1] for s in (small, big)]))
    with pytest.raises(DatasetError, match="9 hands"):
        sigma.domain_gap([small[:4], big[:5]])


def test_errors_at_joints_count_where_there_is_no_depth_map() -> None:
    """The fake says 0.5 m; PIP and DIP joints lie 0.51 m away, the surface 6 mm before them."""
    camera, rgb = Camera(160, 120, 150.0, 150.0, 80.0, 60.0), np.zeros((120, 160, 3), np.uint8)
    joints = np.tile([0.0, 0.0, DEPTH_M + 0.01], (21, 1))
    joints[:, :2] = np.random.default_rng(0).uniform(-0.04, 0.04, (21, 2))
    box = Box(*np.concatenate((camera.project(joints).min(0), np.ptp(camera.project(joints), axis=0))))
    sample = Sample("a", rgb, camera, (TrueHand(box, joints=joints),))
    (found,) = sigma.hand_errors(sample, FakeEstimator(max_hands=1), length=0.19)
    assert len(found.error) == 10
    np.testing.assert_allclose(found.error, 0.01 - 0.006, atol=1e-6)
