"""The folder format of ``hand-depth synth``: cameras.jsonl with rgb/, depth/ and mask/.

A line of cameras.jsonl describes an image: its path, intrinsics, split and hands. dataset.json says
the depth unit and whether the images are transparent. A mask has the instance number of a hand, 0
elsewhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError, counted
from hand_depth_ros.evaluation.files import (
    image_files,
    read_depth,
    read_image,
    read_json,
    read_jsonl,
    read_mask,
    read_rgb,
)
from hand_depth_ros.evaluation.readers.layout import Layout, OpenOptions, camera_of_line, entry, tight_box
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand

_GREY = 127
_BACKGROUND_STEP = 7919
"""Stride through the photographs, a prime, so that neighbouring images get different ones."""


def _matches(path: Path) -> bool:
    return (path / "cameras.jsonl").exists() and any((path / name).is_dir() for name in ("rgb", "depth"))


def _open(path: Path, options: OpenOptions) -> Dataset:
    missing = [name for name in ("rgb", "depth") if not (path / name).is_dir()]
    if missing:
        raise DatasetError(f"{path} has cameras.jsonl but no folder {' and '.join(missing)}.")
    about = dataset_json(path)
    lines, notes = read_jsonl(path / "cameras.jsonl"), []
    if options.split is not None and lines:
        lines, note = _of_split(path, lines, options.split)
        notes.append(note)
    unit_m = float(about.get("depth_unit_m", 0.001))
    dataset = Dataset(path, "folder", lines, path, _read, tuple(notes), depth_unit_m=unit_m)
    return _with_backgrounds(dataset, options) if about.get("transparent", False) else dataset


def dataset_json(path: Path) -> dict[str, Any]:
    """Return the content of a set's dataset.json, an empty dictionary if there is none."""
    about = read_json(path / "dataset.json") if (path / "dataset.json").exists() else {}
    if not isinstance(about, dict):
        raise DatasetError(f"{path / 'dataset.json'} is no JSON object: {{...}} is needed.")
    return about


def _of_split(path: Path, lines: list[dict[str, Any]], split: str) -> tuple[list[dict[str, Any]], str]:
    """Return the lines of a split and a note on them; all lines if none names its split.

    Raises:
        DatasetError: The set has splits, but nothing in this one.
    """
    sizes = Counter(str(line["split"]) for line in lines if "split" in line)
    if not sizes:
        return lines, "the set has no splits: all of its images"
    if not sizes[split]:
        there = ", ".join(f"{name} ({counted(size, 'image')})" for name, size in sorted(sizes.items()))
        raise DatasetError(
            f"{path} has no images in split {split!r}, it has {there}: give --split one of {', '.join([*sizes, 'all'])}"
        )
    return [line for line in lines if line.get("split") == split], f"split {split}: {sizes[split]} images"


def _with_backgrounds(dataset: Dataset, options: OpenOptions) -> Dataset:
    """Return a transparent set with the photographs to lay behind its images."""
    folder = options.backgrounds
    photographs = image_files(folder) if folder else []
    if folder and not photographs:
        raise DatasetError(f"there are no images in {folder}: give photographs, or none for grey")
    note = f"transparent, laid over {'photographs' if folder else 'grey'}"
    return replace(dataset, backgrounds=photographs, notes=(*dataset.notes, note))


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    name = Path(entry(dataset, line, "image")).stem
    rgb = _over_background(dataset, index, read_image(dataset.root / line["image"], cv2.IMREAD_UNCHANGED))
    shape = rgb.shape[:2]
    camera = camera_of_line(dataset, line, rgb)
    depth = read_depth(dataset.root / "depth" / f"{name}.png", dataset.depth_unit_m, shape)
    mask_file = dataset.root / "mask" / f"{name}.png"
    mask = read_mask(mask_file, shape) if mask_file.exists() else np.isfinite(depth).astype(np.uint8)
    annotations = {int(hand.get("instance", 1)): hand for hand in line.get("hands", [])}
    hands = []
    for instance in (int(i) for i in np.unique(mask) if i):
        pixels = mask == instance
        about = annotations.get(instance, {})
        length = about.get("hand_length_m", line.get("hand_length_m"))
        depth_m = np.where(pixels, depth, np.float32(np.nan))
        joints = np.asarray(about["joints_m"], np.float64) if about.get("joints_m") else None
        hands.append(TrueHand(tight_box(pixels), pixels, depth_m, joints, float(length) if length else None))
    return Sample(name, rgb, camera, tuple(hands))


def _over_background(dataset: Dataset, index: int, image: np.ndarray) -> np.ndarray:
    """Return a decoded image as RGB, a transparent one laid over its background."""
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, 2)
    rgb = np.ascontiguousarray(image[..., 2::-1])
    if image.shape[2] == 4:
        behind = _background(dataset, index, rgb.shape[:2])
        alpha = image[..., 3:].astype(np.float32) / 255
        rgb = (rgb * alpha + behind * (1 - alpha)).round().astype(np.uint8)
    return rgb


def _background(dataset: Dataset, index: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the photograph behind image ``index``, scaled to fill and cropped to the centre."""
    if not dataset.backgrounds:
        return np.full((*shape, 3), _GREY, np.uint8)
    photo = read_rgb(dataset.backgrounds[(index * _BACKGROUND_STEP) % len(dataset.backgrounds)])
    scale = max(shape[0] / photo.shape[0], shape[1] / photo.shape[1])
    size = (max(shape[1], round(photo.shape[1] * scale)), max(shape[0], round(photo.shape[0] * scale)))
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (photo.shape[0] - shape[0]) // 2, (photo.shape[1] - shape[1]) // 2
    return photo[top : top + shape[0], left : left + shape[1]]


LAYOUT = Layout("folder", _matches, _open)
