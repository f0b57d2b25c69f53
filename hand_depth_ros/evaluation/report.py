"""From the scores of images to the numbers of a data set: table, JSON, pictures of the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.readers import Dataset, Sample
from hand_depth_ros.evaluation.scores import MIN_JOINTS, MIN_OVERLAP, HandScore, ImageScore

PUBLISHED_MM = 22.0
"""Nicodemou et al., IJCNN 2020, on HandRGBD: other images than any that are measured here."""

HALF = 0.5
"""Of a hand's joints so many are seen, neither hidden nor beyond the edge, for it to count as half seen."""

WORST = 16
_TILE = 320  # px
_ERRORS = ("mae_mm", "median_mm", "rmse_mm", "shape_mm", "abs_rel")


def summarise(dataset: Dataset, scores: Sequence[ImageScore], given_boxes: bool) -> dict[str, Any]:
    """The report as plain values, ready for JSON; None for what this kind of data set cannot tell.

    Depth errors are means over hands (one an image in most sets) of each hand's own; fractions lie in 0..1. ``half_seen`` has
    the hands' numbers again, of those alone that are at least half seen (``HALF``): what a sliver at the picture's edge belongs
    to, and how far away it is, cannot be told from it.
    """
    hands = [hand for image in scores for hand in image.hands]
    empty = [image for image in scores if not image.hands]
    half_seen = [hand for hand in hands if hand.seen is not None and hand.seen >= HALF]
    return {
        "dataset": dataset.path.name,
        "kind": dataset.kind,
        "notes": [*dataset.notes, *(["true boxes given, detector not used"] if given_boxes else [])],
        "images": len(scores),
        **_of_hands(hands),
        "half_seen": _of_hands(half_seen) if half_seen else None,
        "other_hands_per_image": _mean(image.extra for image in scores if image.hands),
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
        "completeness": _mean(hand.completeness for hand in hands),
        "hand_length_guessed": _errors(hand.guessed for hand in hands),
        "hand_length_known": _errors(hand.known for hand in hands),
        "constant_depth_mm": _mean(hand.constant_mm for hand in hands),
        "constant_depth_everywhere_mm": _mean(hand.constant_all_mm for hand in hands),
        "within_1_sigma": _mean(one for one, _ in covered),
        "within_2_sigma": _mean(two for _, two in covered),
        "within_1_sigma_known": _mean(one for one, _ in known),
        "within_2_sigma_known": _mean(two for _, two in known),
        "hand_length_error": _mean(lengths),
        "hand_length_abs_error": _mean(abs(error) for error in lengths),
    }


def print_table(report: dict[str, Any], console: Console) -> None:
    """The report for people."""
    console.print(
        f"[bold]{report['dataset']}[/bold] ({report['kind']}): {report['images']} images", highlight=False
    )
    for note in report["notes"]:
        console.print(f"  {note}", highlight=False)
    half = report["half_seen"]
    for numbers, of in ((report, "hands"), (half, "hands that are at least half seen")):
        if numbers and (numbers["hand_length_guessed"] or numbers["hand_length_known"]):
            console.print(_error_table(numbers, of))
    table = Table("what", "value", *(["of hands at least half seen"] if half else []))
    for name, key, digits in (
        ("hands found", "hands_found", None),
        ("hands in truth", "hands", 0),
        ("hands whose depth was measured", "hands_measured", 0),
        ("other hands per image", "other_hands_per_image", 3),
        ("images without a hand where one was seen", "images_with_false_hand", None),
        ("mask IoU", "mask_iou", 3),
        ("mask IoU inside the grown landmark hull", "mask_iou_in_region", 3),
        ("the same, if all of it were called hand", "mask_iou_in_region_if_all_were_hand", 3),
        ("pixels (joints) of found hands that got depth", "completeness", None),
        ("constant depth at all places, mm", "constant_depth_everywhere_mm", 1),
        ("within 1 sigma (Gauss: 68 %)", "within_1_sigma", None),
        ("within 2 sigma (Gauss: 95 %)", "within_2_sigma", None),
        ("within 1 sigma, length known", "within_1_sigma_known", None),
        ("within 2 sigma, length known", "within_2_sigma_known", None),
        ("hand length, mean error", "hand_length_error", None),
        ("hand length, mean absolute error", "hand_length_abs_error", None),
        ("median time per image, ms", "median_ms_per_image", 1),
    ):
        if report[key] is not None:
            cells = [report[key], *([half.get(key)] if half else [])]
            table.add_row(name, *(_shown(cell, digits) for cell in cells))
    console.print(table)
    console.print(
        f"Found: IoU >= {MIN_OVERLAP}. Constant depth: each hand at its own true median. "
        + (
            f"Joints: PIP and DIP, 6 mm to the surface, hands with {MIN_JOINTS} or more. "
            * (report["kind"] in ("joints", "freihand"))
        )
        + f"Published for this method: {PUBLISHED_MM:g} mm, on HandRGBD, not these images.",
        highlight=False,
    )


def _error_table(numbers: dict[str, Any], of: str) -> Table:
    table = Table(f"error, mean over {of}", "length guessed", "length known", "constant depth")
    oracle = {"mae_mm": numbers["constant_depth_mm"], "shape_mm": numbers["constant_depth_mm"]}
    names = (
        "mean absolute, mm",
        "median absolute, mm",
        "RMSE, mm",
        "shape (median taken off), mm",
        "AbsRel",
    )
    for key, name in zip(_ERRORS, names, strict=True):
        decimals = 4 if key == "abs_rel" else 1
        columns = (numbers["hand_length_guessed"] or {}, numbers["hand_length_known"] or {}, oracle)
        table.add_row(name, *(_shown(column.get(key), decimals) for column in columns))
    return table


def draw(sample: Sample, frame: Any, image: ImageScore) -> np.ndarray:
    """One tile, BGR: the picture with predicted (red) and true (white) outlines, predicted depth, and the truth.

    The truth is depth in the same colours; or, at the joints that are scored, by how much (mm) the predicted surface lies
    behind (yellow to red) or before (blue) the true one, the hand's median error taken off.
    """
    picture = np.ascontiguousarray(sample.rgb[..., ::-1])
    height, width = picture.shape[:2]
    for hand in sample.hands:
        if hand.mask is not None:
            _outline(picture, hand.mask, (255, 255, 255))
        else:
            x, y, w, h = (round(v) for v in hand.box)
            cv2.rectangle(picture, (x, y), (x + w, y + h), (255, 255, 255), 1)
    if sample.skin is not None:
        _outline(picture, sample.skin & sample.region, (255, 255, 255))
    _outline(picture, frame.mask > 0, (0, 0, 255))
    truth = [hand.depth_m for hand in sample.hands if hand.depth_m is not None]
    known = np.fmax.reduce([*truth, np.full((height, width), np.nan, np.float32)])
    centre = np.nanmedian(known) if np.isfinite(known).any() else None
    if centre is None and np.isfinite(frame.depth).any():
        centre = np.nanmedian(frame.depth)
    panels = [picture, _coloured(frame.depth, centre)]
    if truth:
        panels.append(_coloured(known, centre))
    elif sample.skin is not None and sample.region is not None:
        panels.append(
            cv2.cvtColor(
                np.where(sample.region, 80 + 175 * sample.skin, 0).astype(np.uint8), cv2.COLOR_GRAY2BGR
            )
        )
    scale = _TILE / max(height, width)
    panels = [cv2.resize(panel, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for panel in panels]
    if not truth and any(hand.joints is not None for hand in sample.hands):
        panels.append(_joint_errors(sample, frame, panels[0].shape[:2], scale))
    tile = np.concatenate(panels, 1)
    head = np.full((22, tile.shape[1], 3), 255, np.uint8)
    cv2.putText(head, _caption(image), (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((head, tile))


def _joint_errors(sample: Sample, frame: Any, shape: tuple[int, int], scale: float) -> np.ndarray:
    """The picture darkened, with a dot and a number (mm) at each scored joint; hollow where nothing was predicted."""
    panel = cv2.resize(sample.rgb[..., ::-1] // 3, shape[::-1], interpolation=cv2.INTER_AREA)
    for hand in sample.hands:
        if hand.joints is None:
            continue
        joints = hand.joints[list(metrics.SURFACE_JOINTS)]
        pixels = sample.camera.project(joints)
        error = metrics.median_around(frame.depth, pixels) - (joints[:, 2] - metrics.SURFACE_TO_JOINT_M)
        if np.isfinite(error).any():
            error -= np.nanmedian(error)
        for (x, y), value in zip(np.nan_to_num(pixels * scale, nan=-99.0), error, strict=True):
            place = (round(float(x)), round(float(y)))
            if not np.isfinite(value):
                cv2.circle(panel, place, 3, (255, 255, 255), 1, cv2.LINE_AA)
                continue
            level = np.uint8(255 * np.clip(value / 0.08 + 0.5, 0, 1))
            colour = cv2.applyColorMap(np.full((1, 1), level, np.uint8), cv2.COLORMAP_TURBO)[0, 0].tolist()
            cv2.circle(panel, place, 3, colour, -1, cv2.LINE_AA)
            beside = (place[0] + 5, place[1] + 4)
            cv2.putText(
                panel, f"{1e3 * value:.0f}", beside, cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1, cv2.LINE_AA
            )
    return panel


def write_pictures(tiles: Iterable[np.ndarray], file: Path) -> None:
    """All the tiles on one sheet, two beside each other, worst first."""
    tiles = list(tiles)
    if not tiles:
        return
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    sheet = np.full((height * -(-len(tiles) // 2), width * min(len(tiles), 2), 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // 2 * height, i % 2 * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


def _caption(image: ImageScore) -> str:
    parts = [image.name]
    parts += [f"missed {missed}"] if (missed := sum(not hand.found for hand in image.hands)) else []
    parts += [f"extra {image.extra}"] if image.extra else []
    parts += [f"IoU {image.region_iou:.2f}"] if image.region_iou is not None else []
    parts += [
        f"shape {h.guessed.shape_mm:.1f} abs {h.guessed.mae_mm:.0f} mm" for h in image.hands if h.guessed
    ]
    return ", ".join(parts)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1)


def _coloured(depth: np.ndarray, centre: float | None) -> np.ndarray:
    """Depth in colours, 8 cm either side of the centre; black where there is none."""
    valid = np.isfinite(depth)
    if centre is None or not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    level = np.clip((np.where(valid, depth, centre) - centre) / 0.16 + 0.5, 0, 1)
    colours = cv2.applyColorMap((255 * (1 - level)).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.where(valid[..., None], colours, np.uint8(0))


def _errors(all_errors: Iterable[Any]) -> dict[str, float] | None:
    found = [asdict(errors) for errors in all_errors if errors is not None]
    return {key: float(np.mean([errors[key] for errors in found])) for key in _ERRORS} if found else None


def _mean(values: Iterable[Any]) -> float | None:
    kept = [float(value) for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(kept)) if kept else None


def _shown(value: float | None, digits: int | None) -> str:
    """With so many digits; None: as a percentage."""
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if digits is None else f"{value:.{digits}f}"
