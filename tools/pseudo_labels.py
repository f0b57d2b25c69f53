"""Measure the labels that photographs get from their landmarks, and draw some.

    python tools/pseudo_labels.py DATA [--out docs/pseudo_labels.png] [--photographs FILE]
                                  [--cache FOLDER]

DATA holds real_train/landmarks.jsonl (photographs that are trained on) and real_val/masks
(photographs with true masks and the same model's landmarks, which are not); neither is part of this
repository. ``--out`` shows labels alone: relief in colours (red: near), the joints, in grey what
the labels leave open; ``--photographs`` the photographs too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.readers import open_dataset
from hand_depth_ros.geometry.hand import FINGERS, WRIST
from hand_depth_ros.training.data.photographs import MIN_WEIGHT, Photograph, PseudoLabel
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.labels.pseudo_labels import (
    hand_length,
    label_hand,
    pixels_per_metre,
    swept_surface,
)

COLUMNS, ROWS, TILE = 10, 4, 96
DEEP = 0.25
"""Hand lengths from the middle of the relief to either end of the colours."""


def reprojections(landmarks: Path) -> np.ndarray:
    """Return the mean reprojection error (n,) of each hand's landmarks, in hand lengths.

    Landmarks in space are projected with the fitted camera.
    """
    errors = []
    for line in landmarks.read_text().splitlines():
        for hand in json.loads(line)["hands"]:
            px, world = np.array(hand["px"])[:, :2], np.array(hand["world_m"])
            scale = pixels_per_metre(px, world)
            apart = px - px.mean(0) - scale * (world - world.mean(0))[:, :2]
            length = scale * hand_length(world)
            errors.append(np.linalg.norm(apart, axis=1).mean() / length)
    return np.array(errors)


def swept(label: PseudoLabel) -> np.ndarray:
    """Return the mask of the fitted hand in the label's window."""
    length = float(np.exp(label.log_length_px))
    joints = np.column_stack((label.joints[:, :2] - (label.x, label.y), label.joints[:, 2] * length))
    return np.isfinite(swept_surface(joints, length, label.mask.shape))


def agreement(label: PseudoLabel) -> float:
    """Return the IoU of the fitted hand with the mask that was cut along the image's edges."""
    return float(metrics.mask_iou(swept(label), label.mask == 1, label.mask != 255))


def against_true_masks(masks: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU (n,) with true skin of the labels' masks and of the fitted hands.

    Counted around the landmarks.
    """
    data = open_dataset(masks)
    cut, fitted = [], []
    for line, sample in zip(data.lines, track(data, "true masks", len(data)), strict=True):
        found = np.zeros(sample.rgb.shape[:2], bool)
        outline, open_to_doubt = found.copy(), found.copy()
        for hand in line["hands"]:
            label = label_hand(sample.rgb, np.array(hand["px"])[:, :2], np.array(hand["world_m"]))
            if label is None or label.weight <= MIN_WEIGHT:
                continue
            rows, columns = label.mask.shape
            window = slice(label.y, label.y + rows), slice(label.x, label.x + columns)
            found[window] |= label.mask == 1
            outline[window] |= swept(label)
            open_to_doubt[window] |= label.mask == 255
        if found.any() and sample.skin is not None and sample.region is not None:
            region = sample.region & ~open_to_doubt
            cut.append(metrics.mask_iou(found, sample.skin, region))
            fitted.append(metrics.mask_iou(outline, sample.skin, region))
    return np.array(cut), np.array(fitted)


def tile(image: Photograph, label: PseudoLabel, photograph: bool) -> np.ndarray:
    """Return one label drawn, (TILE, TILE, 3) BGR, twice as wide with the photograph."""
    level = np.clip(np.nan_to_num(label.relief) / (2 * DEEP) + 0.5, 0, 1)
    drawn = cv2.applyColorMap((255 * (1 - level)).astype(np.uint8), cv2.COLORMAP_TURBO)
    drawn[~np.isfinite(label.relief)] = 255
    drawn[label.mask == 1] = np.where(np.isfinite(label.relief)[..., None], drawn, np.uint8(120))[
        label.mask == 1
    ]
    drawn[label.mask == 255] = 200
    positions = label.joints[:, :2] - (label.x, label.y)
    k = TILE / max(label.mask.shape)
    panels = [drawn]
    if photograph:
        rows, columns = label.mask.shape
        shown = image.decode()[label.y : label.y + rows, label.x : label.x + columns, ::-1]
        panels.append(np.ascontiguousarray(shown))
    done = []
    for i, panel in enumerate(panels):
        square = np.full((TILE, TILE, 3), 255, np.uint8)
        small = cv2.resize(panel, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)[:TILE, :TILE]
        square[: small.shape[0], : small.shape[1]] = small
        if i == 0:
            for finger in FINGERS:
                line = np.round(positions[[WRIST, *finger]] * k).astype(np.int32)
                cv2.polylines(square, [line], False, (0, 0, 0), 1, cv2.LINE_AA)
        done.append(square)
    return np.hstack(done)


def sheet(images: list[Photograph], photographs: bool) -> np.ndarray:
    """Return a sheet of some labelled hands, drawn at random: (ROWS * TILE, ...) BGR."""
    hands = [(image, label) for image in images for label in image.usable]
    chosen = np.random.default_rng(0).choice(len(hands), COLUMNS * ROWS, replace=False)
    tiles = [tile(*hands[i], photographs) for i in chosen]
    return np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/pseudo_labels"))
    arguments = parser.parse_args()
    landmarks = arguments.data / "real_train" / "landmarks.jsonl"
    images = load_photographs(landmarks, arguments.cache)
    labels = [label for image in images for label in image.labels]
    weights = np.array([label.weight for label in labels])
    errors = 100 * reprojections(landmarks)
    agreed = np.array([agreement(label) for image in images for label in image.usable])
    cut, fitted = against_true_masks(arguments.data / "real_val" / "masks")
    table = Table("what", "median", "a tenth are worse than")
    table.add_row("landmarks from the fitted hand's, % of a hand length", *worse(errors, 90))
    table.add_row("fitted outline and mask along the image's edges, IoU", *worse(agreed, 10, 3))
    table.add_row("the same mask and true masks (not trained on), IoU", *worse(cut, 10, 3))
    table.add_row("fitted outline and true masks, IoU", *worse(fitted, 10, 3))
    console = Console()
    console.print(
        f"{len(images)} photographs, {len(labels)} hands, {100 * (weights > MIN_WEIGHT).mean():.0f} % of them with labels "
        f"that are used (weight over {MIN_WEIGHT}); {len(cut)} photographs with true masks",
        highlight=False,
    )
    console.print(table)
    for path, photographs in ((arguments.out, False), (arguments.photographs, True)):
        if path is not None:
            cv2.imwrite(str(path), sheet(images, photographs))


def worse(values: np.ndarray, percentile: float, digits: int = 1) -> tuple[str, str]:
    """Return median and percentile as text."""
    return f"{np.median(values):.{digits}f}", f"{np.percentile(values, percentile):.{digits}f}"


if __name__ == "__main__":
    run_cli(main)
