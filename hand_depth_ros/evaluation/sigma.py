"""Makes one and two sigma hold what they should: factors on the parts of sigma, found on held-out pictures with known depth.

The network says how sure it is of relief, apparent size and hand length; training scales each so that 68 % of its
validation crops lie within one. Here the whole estimator is asked instead: its errors with the hand length known set the factor
of relief and apparent size, those with the length guessed then that of the length. The factors go into the weights
file, where the ones of the training were; the network is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.readers import Sample
from hand_depth_ros.evaluation.scores import Estimator, overlaps, roi_of, true_length

GOAL, TOLERANCE = (0.683, 0.954), (0.06, 0.04)
"""Shares of pixels within one and two sigma, and by how much they may be off."""

FACTORS = np.exp(np.linspace(np.log(0.25), np.log(4.0), 121))
MIN_HANDS = 10
_MIN_PIXELS, _MAX_PIXELS = 50, 1000


@dataclass(frozen=True)
class HandErrors:
    """One hand's pixels: |error| (m); the part of sigma (m) that comes from the hand's length; and the rest of it."""

    error: np.ndarray
    length: np.ndarray
    rest: np.ndarray


def hand_errors(sample: Sample, estimator: Estimator, known: bool) -> list[HandErrors]:
    """Of every true hand that has depth and a length; its box is given, and its length if ``known``."""
    hands = [hand for hand in sample.hands if hand.depth_m is not None and true_length(hand) is not None]
    if not hands:
        return []
    lengths: Any = [true_length(hand) for hand in hands] if known else None
    rois = [roi_of(hand) for hand in hands]
    frame = estimator.estimate(sample.rgb, sample.camera, rois=rois, hand_length_m=lengths, track=False)
    found = []
    for true, predicted in overlaps(hands, frame)[1].items():
        hand, depth = frame.hands[predicted], hands[true].depth_m
        assert depth is not None
        good = np.flatnonzero((frame.mask == hand.id) & np.isfinite(frame.depth) & np.isfinite(depth))
        if good.size < _MIN_PIXELS:
            continue
        good = good[:: -(-good.size // _MAX_PIXELS)]
        z, sigma = (values.ravel()[good].astype(np.float64) for values in (frame.depth, frame.sigma))
        length = z * hand.hand_length_sigma_m / hand.hand_length_m
        rest = np.sqrt(np.maximum(sigma**2 - length**2, 0.0))
        found.append(HandErrors(np.abs(z - depth.ravel()[good]), length, rest))
    return found


def coverage(
    hands: Sequence[HandErrors], of_length: float = 1.0, of_rest: float = 1.0
) -> tuple[float, float]:
    """Shares of pixels within one and two sigma, means over hands, with the factors on the two parts of sigma."""
    shares = []
    for hand in hands:
        sigma = np.sqrt((of_length * hand.length) ** 2 + (of_rest * hand.rest) ** 2)
        shares.append([(hand.error <= sigma).mean(), (hand.error <= 2 * sigma).mean()])
    one, two = np.mean(shares, axis=0)
    return float(one), float(two)


def off_goal(covered: tuple[float, float]) -> float:
    """How far from GOAL, in tolerances: 1 is just within."""
    return max(abs(share - goal) / by for share, goal, by in zip(covered, GOAL, TOLERANCE, strict=True))


def factors(known: Sequence[HandErrors], guessed: Sequence[HandErrors]) -> tuple[float, float]:
    """Factors on the length's part and on the rest that bring coverage nearest to GOAL. DatasetError for few hands."""
    if min(len(known), len(guessed)) < MIN_HANDS:
        raise DatasetError(
            f"{min(len(known), len(guessed))} hands with known depth and length: {MIN_HANDS} are needed to calibrate sigma"
        )
    # a length that is given has a sigma of its own, which is no guess of the network
    rest = _min_change([off_goal(coverage(known, 1.0, factor)) for factor in FACTORS])
    length = _min_change([off_goal(coverage(guessed, factor, rest)) for factor in FACTORS])
    return length, rest


def _min_change(off: Sequence[float]) -> float:
    """The factor nearest to 1 that comes within half of the tolerance, else the one that comes nearest to the goal.

    A hand's pixels are wrong together, so that 60 hands tell a coverage to 6 % only: what they can't tell is left as it is.
    """
    good = [factor for factor, value in zip(FACTORS, off, strict=True) if value <= 0.5]
    return float(min(good, key=lambda factor: abs(np.log(factor))) if good else FACTORS[int(np.argmin(off))])
