"""Calibrate sigma: factors on its parts, found on held-out images with known depth.

The network says how sure it is of relief, apparent size and hand length; training scales each so
that 68 % of its validation crops lie within one sigma. Here the whole estimator is measured
instead: its errors with the hand length known give the factor of relief and apparent size, those
with the length guessed then that of the length. The factors replace those of the training in the
weights file; the network does not change.

Real hands differ from rendered ones: one more factor, the domain gap, makes the same of real
sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.samples import Sample
from hand_depth_ros.evaluation.scores import Estimator, compare_depth, match_hands, roi_of, true_length

GOAL, TOLERANCE = (0.683, 0.954), (0.06, 0.04)
"""Fractions of pixels within one and two sigma, and how far they may be off."""

FACTORS = np.exp(np.linspace(np.log(0.25), np.log(4.0), 121))
MIN_HANDS = 10
_MIN_PIXELS, _MAX_PIXELS = 50, 1000
_MIN_JOINTS = 5


@dataclass(frozen=True)
class HandErrors:
    """One hand's pixels, each array (n,), metres.

    Attributes:
        error: Size of the depth error.
        length: The part of sigma that comes from the hand's length.
        rest: The rest of sigma (quadratic difference).
    """

    error: np.ndarray
    length: np.ndarray
    rest: np.ndarray


def hand_errors(
    sample: Sample, estimator: Estimator, length: float | Literal["true"] | None = None
) -> list[HandErrors]:
    """Return the errors of every true hand that has depth; its box is given.

    Args:
        sample: The image and its truth.
        estimator: What to measure.
        length: Hand length given to the estimator, metres; "true": each hand's own, hands without
            one are skipped; None: the length is guessed.
    """
    hands = [hand for hand in sample.hands if hand.depth_m is not None or hand.joints is not None]
    if length == "true":
        hands = [hand for hand in hands if true_length(hand) is not None]
    if not hands:
        return []
    given: Any = [true_length(hand) for hand in hands] if length == "true" else length
    rois = [roi_of(hand) for hand in hands]
    frame = estimator.estimate(sample.rgb, sample.camera, rois=rois, hand_length_m=given, track=False)
    found = []
    for true, predicted in match_hands(hands, frame, sample.ignore)[1].items():
        hand = frame.hands[predicted]
        compared = compare_depth(sample, hands[true], frame, hand)
        if compared is None:
            continue
        good = np.flatnonzero(np.isfinite(compared.predicted) & np.isfinite(compared.true))
        if good.size < (_MIN_PIXELS if hands[true].depth_m is not None else _MIN_JOINTS):
            continue
        good = good[:: -(-good.size // _MAX_PIXELS)]
        z, sigma, truth = (values.ravel()[good].astype(np.float64) for values in compared)
        of_length = z * hand.hand_length_sigma_m / hand.hand_length_m
        rest = np.sqrt(np.maximum(sigma**2 - of_length**2, 0.0))
        found.append(HandErrors(np.abs(z - truth), of_length, rest))
    return found


def coverage(
    hands: Sequence[HandErrors], of_length: float = 1.0, of_rest: float = 1.0
) -> tuple[float, float]:
    """Return the fractions of pixels within one and two sigma, means over hands.

    Args:
        hands: At least one.
        of_length: Factor on the length's part of sigma.
        of_rest: Factor on the rest of sigma.
    """
    fractions = []
    for hand in hands:
        sigma = np.sqrt((of_length * hand.length) ** 2 + (of_rest * hand.rest) ** 2)
        fractions.append([(hand.error <= sigma).mean(), (hand.error <= 2 * sigma).mean()])
    one, two = np.mean(fractions, axis=0)
    return float(one), float(two)


def off_goal(covered: tuple[float, float]) -> float:
    """Return the distance from GOAL, in tolerances: 1 is just within."""
    return max(abs(fraction - goal) / by for fraction, goal, by in zip(covered, GOAL, TOLERANCE, strict=True))


def factors(known: Sequence[HandErrors], guessed: Sequence[HandErrors]) -> tuple[float, float]:
    """Return the factors on the length's part and on the rest that bring coverage nearest to GOAL.

    Args:
        known: Errors with the hand length given.
        guessed: Errors with the hand length guessed.

    Raises:
        DatasetError: There are fewer than MIN_HANDS hands.
    """
    _check_enough(min(len(known), len(guessed)))
    # a length that is given has a sigma of its own, which is no guess of the network
    rest = _smallest_change([off_goal(coverage(known, 1.0, factor)) for factor in FACTORS])
    length = _smallest_change([off_goal(coverage(guessed, factor, rest)) for factor in FACTORS])
    return length, rest


def domain_gap(sets: Sequence[Sequence[HandErrors]]) -> float:
    """Return the factor on the rest of sigma that brings real sets nearest to GOAL.

    Every set counts the same, however many hands it has; their hand lengths are known.

    Raises:
        DatasetError: There are fewer than MIN_HANDS hands.
    """
    _check_enough(sum(len(hands) for hands in sets))
    off = [off_goal(mean_coverage(sets, factor)) for factor in FACTORS]
    return float(FACTORS[int(np.argmin(off))])


def mean_coverage(sets: Sequence[Sequence[HandErrors]], of_rest: float) -> tuple[float, float]:
    """Return the mean over sets of their coverage with a factor on the rest of sigma."""
    one, two = np.mean([coverage(hands, 1.0, of_rest) for hands in sets if hands], axis=0)
    return float(one), float(two)


def _check_enough(hands: int) -> None:
    if hands < MIN_HANDS:
        raise DatasetError(
            f"{hands} hands with known depth and length: {MIN_HANDS} are needed to calibrate sigma"
        )


def _smallest_change(off: Sequence[float]) -> float:
    """Return the factor nearest to 1 within half of the tolerance, else the best one.

    A hand's pixels are wrong together, so 60 hands measure a coverage to 6 % only: smaller
    deviations are left alone.
    """
    good = [factor for factor, value in zip(FACTORS, off, strict=True) if value <= 0.5]
    return float(min(good, key=lambda factor: abs(np.log(factor))) if good else FACTORS[int(np.argmin(off))])
