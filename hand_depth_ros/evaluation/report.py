"""Summarise the scores of a data set's images as plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.pose import DIRECTIONS, OPENNESS
from hand_depth_ros.evaluation.samples import Dataset
from hand_depth_ros.evaluation.scores import HandScore, ImageScore

PUBLISHED_MM = 22.0
"""Nicodemou et al., IJCNN 2020, on HandRGBD: other images than any that are measured here."""

HALF = 0.5
"""Fraction of a hand's joints that can be seen, from which on it counts as half visible."""

MIN_GROUP = 5
"""Groups of poses with fewer measured hands are never called the worst."""

ERRORS = ("mae_mm", "median_mm", "rmse_mm", "shape_mm", "abs_rel")


def summarise(dataset: Dataset, scores: Sequence[ImageScore], given_boxes: bool) -> dict[str, Any]:
    """Return the report; None for what this kind of data set does not know.

    Depth errors are means over hands (one per image in most sets) of each hand's own; fractions lie
    in 0..1. ``half_visible`` repeats the hands' numbers for those alone that are at least half
    visible (``HALF``): a sliver at
    the image's edge shows neither whose it is nor how far away.
    """
    hands = [hand for image in scores for hand in image.hands]
    empty = [image for image in scores if not image.hands]
    half_visible = [h for h in hands if h.visible_fraction is not None and h.visible_fraction >= HALF]
    return {
        "dataset": dataset.path.name,
        "kind": dataset.kind,
        "notes": [*dataset.notes, *(["true boxes given, detector not used"] if given_boxes else [])],
        "images": len(scores),
        **_of_hands(hands),
        "half_visible": _of_hands(half_visible) if half_visible else None,
        "poses": _of_poses(hands),
        "other_hands_per_image": _mean(image.extra for image in scores if image.hands),
        "images_with_invented_hand": _mean(image.invented for image in scores),
        "images_with_false_hand": _mean(image.extra > 0 for image in empty),
        "false_hands_per_image": _mean(image.extra for image in empty),
        "mask_iou_in_region": _mean(image.region_iou for image in scores),
        "mask_iou_in_region_if_all_were_hand": _mean(image.region_all_iou for image in scores),
        "published_mm": PUBLISHED_MM,
        "median_ms_per_image": float(np.median([image.ms for image in scores])),
    }


def _of_hands(hands: Sequence[HandScore]) -> dict[str, Any]:
    covered = [hand.coverage for hand in hands if hand.coverage]
    known = [hand.known_coverage for hand in hands if hand.known_coverage]
    lengths = [hand.length_error for hand in hands if hand.length_error is not None]
    return {
        "hands": len(hands),
        "hands_measured": sum(hand.guessed is not None for hand in hands),
        "hands_found": _mean(hand.found for hand in hands),
        "mask_iou": _mean(hand.iou for hand in hands),
        "mask_precision": _mean(hand.precision for hand in hands),
        "completeness": _mean(hand.completeness for hand in hands),
        "hand_length_guessed": _errors(hand.guessed for hand in hands),
        "hand_length_known": _errors(hand.known for hand in hands),
        "constant_depth_mm": _mean(hand.constant_mm for hand in hands),
        "constant_depth_everywhere_mm": _mean(hand.constant_all_mm for hand in hands),
        **_of_ratios(hands),
        "within_1_sigma": _mean(one for one, _ in covered),
        "within_2_sigma": _mean(two for _, two in covered),
        "within_1_sigma_known": _mean(one for one, _ in known),
        "within_2_sigma_known": _mean(two for _, two in known),
        "hand_length_error": _mean(lengths),
        "hand_length_abs_error": _mean(abs(error) for error in lengths),
    }


def _of_ratios(hands: Sequence[HandScore]) -> dict[str, float | None]:
    """Return the scatter of predicted over true depth, and the error after one common scale."""
    pairs = [hand.pairs for hand in hands if hand.pairs is not None]
    if not pairs:
        return dict.fromkeys(("median_depth_ratio", "scatter", "gross_errors", "common_scale_mae_mm"))
    ratios = [metrics.depth_ratio(each) for each in pairs]
    scale = metrics.common_scale(ratios)
    return {
        "median_depth_ratio": 1 / scale,
        "scatter": metrics.scatter(ratios),
        "gross_errors": metrics.gross_errors(ratios),
        "common_scale_mae_mm": _mean(metrics.scaled_mae_mm(each, scale) for each in pairs),
    }


def _of_poses(hands: Sequence[HandScore]) -> dict[str, Any] | None:
    """Return the numbers by openness and direction of the fingers, and the worst group.

    None without joints.
    """
    posed = [hand for hand in hands if hand.pose is not None]
    ratios = [metrics.depth_ratio(hand.pairs) for hand in posed if hand.pairs is not None]
    if not ratios:
        return None
    scale = metrics.common_scale(ratios)
    groups = []
    for openness in (None, *(name for name, _ in OPENNESS)):
        for direction in (None, *(name for name, _ in DIRECTIONS)):
            members = [
                hand
                for hand in posed
                if hand.pose is not None
                and openness in (None, hand.pose.openness_class)
                and direction in (None, hand.pose.direction_class)
            ]
            if members:
                groups.append(
                    {"openness": openness, "direction": direction, **_of_group(members, scale, ratios)}
                )
    candidates = [
        group
        for group in groups
        if group["openness"] and group["direction"] and group["hands_measured"] >= MIN_GROUP
    ]
    worst = max(candidates, key=lambda group: group["abs_ratio_error"], default=None)
    return {"groups": groups, "worst": worst}


def _of_group(hands: Sequence[HandScore], scale: float, ratios: Sequence[float]) -> dict[str, Any]:
    """Return the numbers of one group of poses; ratios are relative to the mean of the set."""
    measured = [hand.pairs for hand in hands if hand.pairs is not None]
    against_set = [metrics.depth_ratio(pairs) / float(np.mean(ratios)) - 1 for pairs in measured]
    errors = [hand.known or hand.guessed for hand in hands]
    return {
        "hands": len(hands),
        "hands_measured": len(measured),
        "hands_found": _mean(hand.found for hand in hands),
        "shape_mm": _mean(each.shape_mm for each in errors if each),
        "ratio_against_set": _mean(against_set),
        "abs_ratio_error": _mean(abs(value) for value in against_set),
        "common_scale_mae_mm": _mean(metrics.scaled_mae_mm(pairs, scale) for pairs in measured),
    }


def _errors(all_errors: Iterable[metrics.DepthErrors | None]) -> dict[str, float] | None:
    found = [asdict(errors) for errors in all_errors if errors is not None]
    return {key: float(np.mean([errors[key] for errors in found])) for key in ERRORS} if found else None


def _mean(values: Iterable[Any]) -> float | None:
    kept = [float(value) for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(kept)) if kept else None
