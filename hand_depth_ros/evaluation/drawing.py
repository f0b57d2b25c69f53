"""Draw scored images: a tile per image, the worst of a set on one sheet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.samples import Sample
from hand_depth_ros.evaluation.scores import ImageScore

_TILE = 320  # px
_DEPTH_SPAN_M = 0.16
_ERROR_SPAN_M = 0.08
_WHITE, _RED = (255, 255, 255), (0, 0, 255)  # BGR


def draw(sample: Sample, frame: Any, image: ImageScore) -> np.ndarray:
    """Return one tile, BGR: the image with outlines, the predicted depth, the truth.

    Outlines are red for predicted and white for true hands. The truth is depth in the same colours;
    or, at the joints that are scored, how far (mm) the predicted surface lies behind (yellow to
    red) or in front of (blue) the true one, the hand's median error taken off.
    """
    outlined = _outlined(sample, frame)
    hand_depth = _hand_depth(sample)
    true_depth = hand_depth
    if sample.scene_depth_m is not None and not np.isfinite(hand_depth).any():
        true_depth = sample.scene_depth_m
    maps = (hand_depth, frame.depth, true_depth)
    centre = next((float(np.nanmedian(depth)) for depth in maps if np.isfinite(depth).any()), None)
    panels = [outlined, _coloured(frame.depth, centre)]
    if np.isfinite(true_depth).any():
        panels.append(_coloured(true_depth, centre))
    elif sample.skin is not None and sample.region is not None:
        skin = np.where(sample.region, 80 + 175 * sample.skin, 0).astype(np.uint8)
        panels.append(cv2.cvtColor(skin, cv2.COLOR_GRAY2BGR))
    scale = _TILE / max(outlined.shape[:2])
    panels = [cv2.resize(panel, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for panel in panels]
    if not np.isfinite(true_depth).any() and any(hand.joints is not None for hand in sample.hands):
        panels.append(_joint_errors(sample, frame, panels[0].shape[:2], scale))
    tile = np.concatenate(panels, 1)
    header = np.full((22, tile.shape[1], 3), 255, np.uint8)
    cv2.putText(header, _caption(image), (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((header, tile))


def _outlined(sample: Sample, frame: Any) -> np.ndarray:
    """Return the image, BGR, with the outlines of true and predicted hands."""
    image = np.ascontiguousarray(sample.rgb[..., ::-1])
    for hand in sample.hands:
        if hand.mask is not None:
            _outline(image, hand.mask, _WHITE)
        else:
            x, y, w, h = (round(v) for v in hand.box)
            cv2.rectangle(image, (x, y), (x + w, y + h), _WHITE, 1)
    if sample.skin is not None:
        _outline(image, sample.skin & sample.region, _WHITE)
    _outline(image, frame.mask > 0, _RED)
    return image


def _hand_depth(sample: Sample) -> np.ndarray:
    """Return the known depth of hands (H, W), metres, NaN elsewhere."""
    known = [hand.depth_m for hand in sample.hands if hand.depth_m is not None]
    return np.fmax.reduce([*known, np.full(sample.rgb.shape[:2], np.nan, np.float32)])


def _joint_errors(sample: Sample, frame: Any, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Return the image darkened, with a dot and an error (mm) at each scored joint.

    Dots are hollow where nothing was predicted.
    """
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
            _mark_error(panel, (round(float(x)), round(float(y))), float(value))
    return panel


def _mark_error(panel: np.ndarray, position: tuple[int, int], error_m: float) -> None:
    """Draw one joint's error."""
    if not np.isfinite(error_m):
        cv2.circle(panel, position, 3, _WHITE, 1, cv2.LINE_AA)
        return
    level = np.uint8(255 * np.clip(error_m / _ERROR_SPAN_M + 0.5, 0, 1))
    colour = cv2.applyColorMap(np.full((1, 1), level, np.uint8), cv2.COLORMAP_TURBO)[0, 0].tolist()
    cv2.circle(panel, position, 3, colour, -1, cv2.LINE_AA)
    beside = (position[0] + 5, position[1] + 4)
    text = f"{1e3 * error_m:.0f}"
    cv2.putText(panel, text, beside, cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1, cv2.LINE_AA)


def write_sheet(tiles: Iterable[np.ndarray], file: Path) -> None:
    """Write all the tiles on one sheet, two side by side, worst first; nothing for no tiles."""
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


def _outline(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, colour, 1)


def _coloured(depth: np.ndarray, centre: float | None) -> np.ndarray:
    """Return depth in colours, 8 cm either side of the centre; black where there is none."""
    valid = np.isfinite(depth)
    if centre is None or not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    level = np.clip((np.where(valid, depth, centre) - centre) / _DEPTH_SPAN_M + 0.5, 0, 1)
    colours = cv2.applyColorMap((255 * (1 - level)).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.where(valid[..., None], colours, np.uint8(0))
