"""One image's score: the estimator is run on it as any user would, and compared with what is known.

A true hand is found when a predicted one overlaps it by IoU >= 0.3: of masks where the truth has one, else of
the predicted mask's box with the box of the joints or landmarks. Depth is scored on found hands, over the
pixels that have both true and predicted depth; joints where 5 x 5 pixels around them have depth, on hands
with at least 5 such joints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.readers import Sample, TrueHand
from hand_depth_ros.geometry.boxes import visible_fraction
from hand_depth_ros.geometry.camera import Camera

MIN_OVERLAP = 0.3
MIN_JOINTS = 5
_BOX_GROWTH = 0.08  # from the box of the joints to that of the hand around them, of the longer side


class Estimator(Protocol):
    """What is used of HandDepthEstimator."""

    def estimate(
        self,
        rgb: np.ndarray,
        camera: Camera,
        rois: Any = None,
        hand_length_m: Any = None,
        *,
        track: bool = True,
    ) -> Any: ...


@dataclass(frozen=True)
class HandScore:
    """One true hand. None: not measured (not found, or the data set does not know).

    ``iou`` with the best overlapping prediction, 0 for none; ``completeness`` the part of the hand's pixels
    (or surface joints) that got depth; ``constant_mm`` the constant-depth oracle at the places that were
    scored, ``constant_all_mm`` at all; ``coverage`` the fractions within one and two sigma, with the length guessed,
    ``known_coverage`` with it known; ``length_error`` predicted / true hand length - 1; ``seen`` the share of its joints that
    can be seen in the picture.
    """

    found: bool
    iou: float | None = None
    completeness: float | None = None
    guessed: metrics.DepthErrors | None = None
    known: metrics.DepthErrors | None = None
    constant_mm: float | None = None
    constant_all_mm: float | None = None
    coverage: tuple[float, float] | None = None
    known_coverage: tuple[float, float] | None = None
    length_error: float | None = None
    seen: float | None = None


@dataclass(frozen=True)
class ImageScore:
    """One image: its hands, and how many predicted hands are none of them.

    Masks sets: IoU of skin in the region, and what calling all of the region hand would score.
    """

    name: str
    hands: tuple[HandScore, ...]
    extra: int
    region_iou: float | None
    region_all_iou: float | None
    ms: float

    @property
    def badness(self) -> tuple[float, float]:
        """For sorting, worst largest: what was missed or invented first, then the shape error or lost IoU."""
        wrong = sum(not hand.found for hand in self.hands) or (0 if self.hands else self.extra)
        if self.region_iou is not None:
            return 0.0, 1 - self.region_iou
        shapes = [hand.guessed.shape_mm for hand in self.hands if hand.guessed]
        return float(wrong), max(shapes, default=0.0)


def score(sample: Sample, estimator: Estimator, given_boxes: bool = False) -> tuple[ImageScore, Any]:
    """Score one image; also gives the HandDepthFrame that the guessed hand length led to.

    ``given_boxes``: the true boxes are given as rois, the detector is not used.
    """
    rois = [roi_of(hand) for hand in sample.hands] if given_boxes else None
    start = time.perf_counter()
    frame = estimator.estimate(sample.rgb, sample.camera, rois=rois, track=False)
    ms = 1e3 * (time.perf_counter() - start)
    lengths = [true_length(hand) for hand in sample.hands]
    known_frames = {
        length: estimator.estimate(sample.rgb, sample.camera, rois=rois, hand_length_m=length, track=False)
        for length in {length for length in lengths if length is not None}
    }
    overlap, pairs = overlaps(sample.hands, frame)
    known_pairs = {length: overlaps(sample.hands, known)[1] for length, known in known_frames.items()}
    hands = []
    for i, (true, length) in enumerate(zip(sample.hands, lengths, strict=True)):
        iou = float(overlap[i].max(initial=0.0)) if true.mask is not None else None
        known = known_covered = None
        if length is not None and i in known_pairs[length]:
            other = known_frames[length]
            known, _, _, known_covered = _measured(sample, true, other, other.hands[known_pairs[length][i]])
        constant_all, seen = _constant_all(true), _seen(sample, true)
        if i not in pairs:
            missed = HandScore(False, iou, known=known, constant_all_mm=constant_all, seen=seen)
            hands.append(replace(missed, known_coverage=known_covered))
            continue
        hand = frame.hands[pairs[i]]
        guessed, completeness, constant, covered = _measured(sample, true, frame, hand)
        error = hand.hand_length_m / length - 1 if length else None
        hands.append(
            HandScore(
                True,
                iou,
                completeness,
                guessed,
                known,
                constant,
                constant_all,
                covered,
                known_covered,
                error,
                seen,
            )
        )
    region_iou = region_all_iou = None
    if sample.skin is not None:
        region_iou = metrics.mask_iou(frame.mask > 0, sample.skin, sample.region)
        region_all_iou = metrics.mask_iou(np.ones_like(sample.skin), sample.skin, sample.region)
    extra = len(frame.hands) - len(pairs)
    return ImageScore(sample.name, tuple(hands), extra, region_iou, region_all_iou, ms), frame


def overlaps(hands: Sequence[TrueHand], frame: Any) -> tuple[np.ndarray, dict[int, int]]:
    """IoU of every true with every predicted hand, and who is who."""
    overlap = np.zeros((len(hands), len(frame.hands)))
    for j, predicted in enumerate(frame.hands):
        pixels = frame.mask == predicted.id
        box = metrics.box_of(pixels)
        for i, true in enumerate(hands):
            if true.mask is not None:
                overlap[i, j] = metrics.mask_iou(pixels, true.mask) if box else 0.0
            elif box is not None:
                overlap[i, j] = metrics.box_iou(box, true.box)
    return overlap, metrics.match(overlap, MIN_OVERLAP)


def true_length(hand: TrueHand) -> float | None:
    """The hand's length: as the data set says, else along its own joints."""
    if hand.hand_length_m is not None:
        return hand.hand_length_m
    return metrics.hand_length_of(hand.joints) if hand.joints is not None else None


def roi_of(hand: TrueHand) -> tuple[float, float, float, float]:
    """The hand's tight box: the mask's own, or the joints' with flesh around it."""
    x, y, width, height = hand.box
    if hand.mask is not None:
        return hand.box
    grow = _BOX_GROWTH * max(width, height)
    return x - grow, y - grow, width + 2 * grow, height + 2 * grow


def _seen(sample: Sample, true: TrueHand) -> float | None:
    if true.mask is None or true.joints is None:
        return None
    return visible_fraction(true.mask, sample.camera.project(true.joints))


def _constant_all(true: TrueHand) -> float | None:
    surface = true.depth_m if true.depth_m is not None else _surface(true)
    return metrics.constant_depth_shape_mm(surface) if surface is not None else None


def _surface(true: TrueHand) -> np.ndarray | None:
    if true.joints is None:
        return None
    return true.joints[list(metrics.SURFACE_JOINTS), 2] - metrics.SURFACE_TO_JOINT_M


def _measured(
    sample: Sample, true: TrueHand, frame: Any, hand: Any
) -> tuple[metrics.DepthErrors | None, float | None, float | None, tuple[float, float] | None]:
    """Errors, completeness, the oracle at the same places, and coverage of one predicted hand."""
    own = frame.mask == hand.id
    depth = np.where(own, frame.depth, np.float32(np.nan))
    sigma = np.where(own, frame.sigma, np.float32(np.nan))
    if true.depth_m is not None:
        surface = true.depth_m
    elif (joints := _surface(true)) is not None and true.joints is not None:
        surface = joints
        pixels = sample.camera.project(true.joints[list(metrics.SURFACE_JOINTS)])
        depth, sigma = (metrics.median_around(values, pixels) for values in (depth, sigma))
    else:
        return None, None, None, None
    wanted = np.isfinite(surface)
    measured = wanted & np.isfinite(depth)
    completeness = float(measured.sum() / wanted.sum()) if wanted.any() else None
    if true.depth_m is None and measured.sum() < MIN_JOINTS:
        return None, completeness, None, None
    constant = metrics.constant_depth_shape_mm(np.where(measured, surface, np.nan))
    return (
        metrics.depth_errors(depth, surface),
        completeness,
        constant,
        metrics.coverage(depth, surface, sigma),
    )
