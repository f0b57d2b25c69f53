"""Score one image: run the estimator on it as any user would, and compare with what is known.

A true hand is found when a predicted one overlaps it by IoU >= 0.3: of masks where the truth has
one, else of the predicted mask's box with the box of the joints or landmarks. Where the true mask
shows the arm too, half of what is called hand, 300 pixels or more, must lie in it. Of an image that
shows a hand somewhere the surest predicted one is taken for it. Depth is scored on found hands,
over the pixels that have both true and predicted depth; joints where 5 x 5 pixels around them have
depth, on hands with at least 5 such joints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.pose import HandPose, hand_pose
from hand_depth_ros.evaluation.samples import Sample, TrueHand
from hand_depth_ros.geometry.boxes import Box, mask_box
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.hand import hand_length
from hand_depth_ros.geometry.masks import visible_fraction

MIN_OVERLAP = 0.3
MIN_PRECISION_WITH_ARM = 0.5
MIN_PIXELS_WITH_ARM = 300
MIN_JOINTS = 5
_BOX_GROWTH = 0.08
"""From the box of the joints to that of the hand around them, of the longer side."""
_SCENE_MARGIN_M = 0.15
"""Scene depth farther than this from its median inside a predicted mask is not the hand's."""


class Estimator(Protocol):
    """The part of HandDepthEstimator that the evaluation calls."""

    def estimate(
        self,
        rgb: np.ndarray,
        camera: Camera,
        rois: Any = None,
        hand_length_m: Any = None,
        *,
        track: bool = True,
    ) -> Any:
        """Return the HandDepthFrame of an image."""
        ...


@dataclass(frozen=True)
class HandScore:
    """The score of one true hand. None: not measured (not found, or the data set does not know).

    Attributes:
        found: A predicted hand was matched with it.
        iou: Mask IoU with the best overlapping prediction, 0 for none.
        precision: Fraction of the predicted pixels that lie in the true mask; of masks that show
            the arm.
        completeness: Fraction of the hand's pixels (or surface joints) that got depth.
        guessed: Depth errors with the hand length guessed.
        known: Depth errors with the hand length known.
        constant_mm: The constant-depth oracle at the pixels (joints) that were scored.
        constant_all_mm: The constant-depth oracle at all pixels (joints).
        coverage: Fractions within one and two sigma, hand length guessed.
        known_coverage: Fractions within one and two sigma, hand length known.
        length_error: Predicted over true hand length, minus 1.
        visible_fraction: Fraction of the joints that can be seen in the image.
        pairs: Predicted and true depth (n, 2), metres; with the hand length known, if it is.
        pose: Openness and direction of the fingers.
    """

    found: bool
    iou: float | None = None
    precision: float | None = None
    completeness: float | None = None
    guessed: metrics.DepthErrors | None = None
    known: metrics.DepthErrors | None = None
    constant_mm: float | None = None
    constant_all_mm: float | None = None
    coverage: tuple[float, float] | None = None
    known_coverage: tuple[float, float] | None = None
    length_error: float | None = None
    visible_fraction: float | None = None
    pairs: np.ndarray | None = None
    pose: HandPose | None = None


@dataclass(frozen=True)
class ImageScore:
    """The score of one image.

    Attributes:
        name: Of the image.
        hands: One score per true hand.
        extra: Number of predicted hands that match no true one.
        invented: More hands were predicted than the image has; None if it has none, or nobody knows
            how many.
        region_iou: Masks sets: IoU with skin in the region.
        region_all_iou: Masks sets: what calling all of the region hand would score.
        ms: Duration of the estimate, milliseconds.
    """

    name: str
    hands: tuple[HandScore, ...]
    extra: int
    invented: bool | None
    region_iou: float | None
    region_all_iou: float | None
    ms: float

    @property
    def severity(self) -> tuple[float, float]:
        """Sort key, worst largest: missed or invented hands, then the shape error or lost IoU."""
        wrong = sum(not hand.found for hand in self.hands) or (0 if self.hands else self.extra)
        if self.region_iou is not None:
            return 0.0, 1 - self.region_iou
        shapes = [hand.guessed.shape_mm for hand in self.hands if hand.guessed]
        return float(wrong), max(shapes, default=0.0)


class _DepthScore(NamedTuple):
    """Scores of one predicted hand's depth; None where it could not be measured."""

    errors: metrics.DepthErrors | None = None
    completeness: float | None = None
    constant_mm: float | None = None
    coverage: tuple[float, float] | None = None
    pairs: np.ndarray | None = None


def score(sample: Sample, estimator: Estimator, given_boxes: bool = False) -> tuple[ImageScore, Any]:
    """Score one image.

    Args:
        sample: The image and its truth.
        estimator: What to score.
        given_boxes: Give the true boxes as rois; the detector is not used.

    Returns:
        The score, and the HandDepthFrame that the guessed hand length led to.
    """
    if given_boxes and sample.unlocated_hand:
        raise DatasetError(f"{sample.name}: the set has no boxes of hands to give: measure it without --rois")
    rois = [roi_of(hand) for hand in sample.hands] if given_boxes else None
    start = time.perf_counter()
    frame = estimator.estimate(sample.rgb, sample.camera, rois=rois, track=False)
    ms = 1e3 * (time.perf_counter() - start)
    if sample.unlocated_hand:
        hands: tuple[HandScore, ...] = (_score_unlocated(sample, frame),)
        matched = int(hands[0].found)
    else:
        hands = _score_located(sample, frame, estimator, rois)
        matched = sum(hand.found for hand in hands)
    region_iou = region_all_iou = None
    if sample.skin is not None:
        region_iou = metrics.mask_iou(frame.mask > 0, sample.skin, sample.region)
        region_all_iou = metrics.mask_iou(np.ones_like(sample.skin), sample.skin, sample.region)
    invented = len(frame.hands) > len(sample.hands) if sample.hands else None
    extra = len(frame.hands) - matched
    return ImageScore(sample.name, hands, extra, invented, region_iou, region_all_iou, ms), frame


def _score_located(
    sample: Sample, frame: Any, estimator: Estimator, rois: Sequence[Any] | None
) -> tuple[HandScore, ...]:
    """Score the annotated hands; those of known length with their length given as well."""
    lengths = [true_length(hand) for hand in sample.hands]
    known_frames = {
        length: estimator.estimate(sample.rgb, sample.camera, rois=rois, hand_length_m=length, track=False)
        for length in {length for length in lengths if length is not None}
    }
    overlap, pairs = match_hands(sample.hands, frame, sample.ignore)
    known_pairs = {
        length: match_hands(sample.hands, known, sample.ignore)[1] for length, known in known_frames.items()
    }
    scores = []
    for i, (true, length) in enumerate(zip(sample.hands, lengths, strict=True)):
        missed = _score_missed(sample, true, float(overlap[i].max(initial=0.0)))
        if length is not None and i in known_pairs[length]:
            hand = known_frames[length].hands[known_pairs[length][i]]
            known = _score_depth(sample, true, known_frames[length], hand)
            missed = replace(missed, known=known.errors, known_coverage=known.coverage, pairs=known.pairs)
        scores.append(
            _score_found(sample, true, frame, frame.hands[pairs[i]], missed) if i in pairs else missed
        )
    return tuple(scores)


def _score_missed(sample: Sample, true: TrueHand, overlap: float) -> HandScore:
    """Return the score of a hand before any prediction is matched with it."""
    own_mask = true.mask is not None and not true.arm_in_mask
    visible = None
    if true.mask is not None and true.joints is not None:
        visible = visible_fraction(true.mask, sample.camera.project(true.joints))
    surface = true.depth_m if true.depth_m is not None else _surface(true)
    return HandScore(
        False,
        iou=overlap if own_mask else None,
        constant_all_mm=metrics.constant_depth_shape_mm(surface) if surface is not None else None,
        visible_fraction=visible,
        pose=hand_pose(true.joints) if true.joints is not None else None,
    )


def _score_found(sample: Sample, true: TrueHand, frame: Any, hand: Any, missed: HandScore) -> HandScore:
    """Return the score of a matched hand; ``missed`` has what does not depend on the match."""
    depth = _score_depth(sample, true, frame, hand)
    length = true_length(true)
    precision = None
    if true.mask is not None and true.arm_in_mask:
        precision = metrics.mask_precision(frame.mask == hand.id, true.mask, _counted(sample.ignore))
    return replace(
        missed,
        found=True,
        precision=precision,
        completeness=depth.completeness,
        guessed=depth.errors,
        constant_mm=depth.constant_mm,
        coverage=depth.coverage,
        length_error=hand.hand_length_m / length - 1 if length else None,
        pairs=missed.pairs if missed.pairs is not None else depth.pairs,
    )


def _score_unlocated(sample: Sample, frame: Any) -> HandScore:
    """Score an image that shows a hand somewhere: found or not, and scene depth in its mask."""
    if not frame.hands:
        return HandScore(False)
    surest = max(frame.hands, key=lambda hand: hand.score)
    if sample.scene_depth_m is None:
        return HandScore(True)
    inside = np.where(frame.mask == surest.id, sample.scene_depth_m, np.float32(np.nan))
    if not np.isfinite(inside).any():
        return HandScore(True)
    near = np.abs(inside - np.nanmedian(inside)) < _SCENE_MARGIN_M
    surface = np.where(near, inside, np.float32(np.nan))
    depth = np.where(near, frame.depth, np.float32(np.nan))
    sigma = np.where(near, frame.sigma, np.float32(np.nan))
    pairs = metrics.depth_pairs(depth, surface)
    return HandScore(
        True,
        guessed=metrics.depth_errors(depth, surface),
        constant_mm=metrics.constant_depth_shape_mm(surface),
        coverage=metrics.coverage(depth, surface, sigma),
        pairs=pairs if len(pairs) else None,
    )


def match_hands(
    hands: Sequence[TrueHand], frame: Any, ignore: np.ndarray | None = None
) -> tuple[np.ndarray, dict[int, int]]:
    """Return overlaps of true (rows) and predicted hands (columns), and the pairs that match.

    Overlap is IoU, or the fraction of the predicted pixels in a true mask that shows the arm too.
    Pixels of ``ignore`` (bool (H, W)) do not count.
    """
    counted = _counted(ignore)
    overlap = np.zeros((len(hands), len(frame.hands)))
    for j, predicted in enumerate(frame.hands):
        pixels = frame.mask == predicted.id
        box = mask_box(pixels)
        if box is None:
            continue
        for i, true in enumerate(hands):
            if true.mask is None:
                overlap[i, j] = box.iou(true.box)
            elif not true.arm_in_mask:
                overlap[i, j] = metrics.mask_iou(pixels, true.mask, counted)
            elif pixels.sum() >= MIN_PIXELS_WITH_ARM:
                overlap[i, j] = metrics.mask_precision(pixels, true.mask, counted)
    with_arm = any(hand.arm_in_mask for hand in hands)
    return overlap, metrics.match(overlap, MIN_PRECISION_WITH_ARM if with_arm else MIN_OVERLAP)


def _counted(ignore: np.ndarray | None) -> np.ndarray | None:
    return None if ignore is None else ~ignore


def true_length(hand: TrueHand) -> float | None:
    """Return the hand's length (m): as annotated, else along its joints; None if unknown."""
    if hand.hand_length_m is not None:
        return hand.hand_length_m
    return hand_length(hand.joints) if hand.joints is not None else None


def roi_of(hand: TrueHand) -> Box:
    """Return the hand's box; that of joints grown by the flesh around them."""
    if hand.mask is not None:
        return hand.box
    x, y, width, height = hand.box
    grow = _BOX_GROWTH * hand.box.longer_side
    return Box(x - grow, y - grow, width + 2 * grow, height + 2 * grow)


def _surface(true: TrueHand) -> np.ndarray | None:
    """Return the depth (m) of the visible surface in front of the surface joints."""
    if true.joints is None:
        return None
    return true.joints[list(metrics.SURFACE_JOINTS), 2] - metrics.SURFACE_TO_JOINT_M


class ComparedDepth(NamedTuple):
    """Depth of one predicted hand and the truth at the same pixels (H, W) or joints (n,).

    Attributes:
        predicted: Metres, NaN where nothing was predicted.
        sigma: Predicted standard deviation, metres.
        true: Metres, NaN where unknown.
    """

    predicted: np.ndarray
    sigma: np.ndarray
    true: np.ndarray


def compare_depth(sample: Sample, true: TrueHand, frame: Any, hand: Any) -> ComparedDepth | None:
    """Return the depth of a predicted hand and the truth, at its pixels or surface joints.

    None if the truth has neither.
    """
    own = frame.mask == hand.id
    depth = np.where(own, frame.depth, np.float32(np.nan))
    sigma = np.where(own, frame.sigma, np.float32(np.nan))
    if true.depth_m is not None:
        return ComparedDepth(depth, sigma, true.depth_m)
    surface = _surface(true)
    if surface is None or true.joints is None:
        return None
    pixels = sample.camera.project(true.joints[list(metrics.SURFACE_JOINTS)])
    depth, sigma = (metrics.median_around(values, pixels) for values in (depth, sigma))
    return ComparedDepth(depth, sigma, surface)


def _score_depth(sample: Sample, true: TrueHand, frame: Any, hand: Any) -> _DepthScore:
    """Score the depth of one predicted hand where the truth knows it."""
    compared = compare_depth(sample, true, frame, hand)
    if compared is None:
        return _DepthScore()
    depth, sigma, surface = compared
    wanted = np.isfinite(surface)
    measured = wanted & np.isfinite(depth)
    completeness = float(measured.sum() / wanted.sum()) if wanted.any() else None
    if true.depth_m is None and measured.sum() < MIN_JOINTS:
        return _DepthScore(completeness=completeness)
    pairs = metrics.depth_pairs(depth, surface)
    return _DepthScore(
        metrics.depth_errors(depth, surface),
        completeness,
        metrics.constant_depth_shape_mm(np.where(measured, surface, np.nan)),
        metrics.coverage(depth, surface, sigma),
        pairs if len(pairs) else None,
    )
