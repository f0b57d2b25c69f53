"""Recordings with sidecar files: cameras.jsonl and images in one folder, labels beside each image.

NAME.mask.png          255 hand, 128 do not care, 0 elsewhere
NAME.depth.png         16-bit depth of the visible hand, 0.1 mm or ``depth_unit_m`` of dataset.json
NAME.scene_depth.png   16-bit sensor depth of the whole scene, mm, holes are 0

A line of cameras.jsonl has the image's name and intrinsics, perhaps ``hands``: one box x, y, width,
height that holds all visible parts of the hand. Without a mask and a box the image shows a hand
somewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.files import read_depth, read_jsonl, read_mask, read_rgb
from hand_depth_ros.evaluation.readers.folder import dataset_json
from hand_depth_ros.evaluation.readers.layout import Layout, OpenOptions, camera_of_line, entry, tight_box
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand
from hand_depth_ros.geometry.boxes import Box

HAND, IGNORE = 255, 128
_HAND_DEPTH_UNIT_M = 1e-4
_SCENE_DEPTH_UNIT_M = 1e-3


def _matches(path: Path) -> bool:
    return (path / "cameras.jsonl").exists()


def _open(path: Path, options: OpenOptions) -> Dataset:
    about = dataset_json(path)
    lines = read_jsonl(path / "cameras.jsonl")
    notes = []
    if arm := options.arm_in_masks or bool(about.get("arm_in_masks", False)):
        notes.append("masks show the arm too: found where half of what is called hand lies in the mask")
    if lines and not any(
        line.get("hands") or _beside(path, str(line.get("image", "")), "mask").exists() for line in lines
    ):
        notes.append("no labels: every image shows a hand, the surest that is found is taken for it")
    unit_m = float(about.get("depth_unit_m", _HAND_DEPTH_UNIT_M))
    return Dataset(path, "sidecar", lines, path, _read, tuple(notes), depth_unit_m=unit_m, arm_in_masks=arm)


def _beside(folder: Path, image: str, label: str) -> Path:
    """Return the label file of an image: NAME.LABEL.png."""
    return (folder / image).with_suffix(f".{label}.png")


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    image = entry(dataset, line, "image")
    rgb = read_rgb(dataset.root / image)
    shape = rgb.shape[:2]
    camera = camera_of_line(dataset, line, rgb)
    mask_file, depth_file, scene_file = (
        _beside(dataset.root, image, label) for label in ("mask", "depth", "scene_depth")
    )
    labels = read_mask(mask_file, shape) if mask_file.exists() else None
    depth = read_depth(depth_file, dataset.depth_unit_m, shape) if depth_file.exists() else None
    scene = read_depth(scene_file, _SCENE_DEPTH_UNIT_M, shape) if scene_file.exists() else None
    box = _box(dataset, line)
    if labels is None and box is None:
        return Sample(Path(image).stem, rgb, camera, scene_depth_m=scene, unlocated_hand=True)
    mask = ignore = None
    if labels is not None:
        mask, ignore = labels == HAND, labels == IGNORE
        if not mask.any():
            return Sample(Path(image).stem, rgb, camera, ignore=ignore, scene_depth_m=scene)
        box = box or tight_box(mask)
        depth = np.where(mask, depth, np.float32(np.nan)) if depth is not None else None
    assert box is not None
    hand = TrueHand(box, mask, depth, arm_in_mask=dataset.arm_in_masks)
    return Sample(Path(image).stem, rgb, camera, (hand,), ignore=ignore, scene_depth_m=scene)


def _box(dataset: Dataset, line: dict[str, Any]) -> Box | None:
    """Return the box of the image's hand, None if its line has none."""
    hands = line.get("hands", [])
    if not hands:
        return None
    if len(hands) > 1:
        raise DatasetError(
            f"{dataset.path}: {line['image']} has {len(hands)} boxes, this layout knows one hand per image."
        )
    try:
        x, y, width, height = (float(value) for value in hands[0])
    except (TypeError, ValueError):
        raise DatasetError(
            f"{dataset.path}: {line['image']} has the box {hands[0]}: x, y, width, height are needed."
        ) from None
    return Box(x, y, width, height)


LAYOUT = Layout("sidecar", _matches, _open)
