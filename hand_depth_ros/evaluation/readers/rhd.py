"""RHD, the Rendered Handpose Dataset (Zimmermann, Brox, ICCV 2017), as published.

Holds training/ and evaluation/ with color/, depth/, mask/ and anno_training.pickle or
anno_evaluation.pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.files import read_image, read_rgb
from hand_depth_ros.evaluation.readers.layout import (
    MIN_PIXELS,
    Layout,
    OpenOptions,
    annotation,
    camera_of_matrix,
    joints_array,
    published_parts,
    tight_box,
)
from hand_depth_ros.evaluation.readers.safe_pickle import load_plain_pickle
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand

# In each hand the wrist, then the fingers from the tip to the palm; left hand first.
_FROM_RHD = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
_HANDS = ((0, 2, 17), (21, 18, 33))  # first joint, first and last mask value
_MAX_DEPTH_M = 5.0


def _matches(path: Path) -> bool:
    return any((path / part / f"anno_{part}.pickle").exists() for part in ("training", "evaluation"))


def _open(path: Path, options: OpenOptions) -> Dataset:
    lines = []
    for part in published_parts(options.split, train="training", val="evaluation"):
        file = path / part / f"anno_{part}.pickle"
        annotations = load_plain_pickle(file)
        if not isinstance(annotations, dict):
            raise DatasetError(f"{file} is not the annotation of RHD: no dictionary in it.")
        for number, about in sorted(annotations.items()):
            lines.append({"image": f"{part}/color/{number:05d}.png", "file": file, "about": about})
    return Dataset(path, "rhd", lines, path, _read, (f"hands of {MIN_PIXELS} pixels or more",))


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    color = dataset.root / line["image"]
    rgb, folder = read_rgb(color), color.parent.parent
    coded = read_image(folder / "depth" / color.name, cv2.IMREAD_COLOR).astype(np.float32)
    depth = (coded[..., 2] * 256 + coded[..., 1]) / 65535 * _MAX_DEPTH_M  # high byte red, low byte green
    labels = read_image(folder / "mask" / color.name, cv2.IMREAD_GRAYSCALE)
    xyz = np.asarray(annotation(line["about"], "xyz", line["file"]), np.float64)
    hands = []
    for first, low, high in _HANDS:
        mask = (labels >= low) & (labels <= high)
        if mask.sum() < MIN_PIXELS:
            continue
        joints = joints_array(xyz[first : first + 21], line["image"])[_FROM_RHD]
        depth_m = np.where(mask, depth, np.nan).astype(np.float32)
        hands.append(TrueHand(tight_box(mask), mask, depth_m, joints))
    camera = camera_of_matrix(annotation(line["about"], "K", line["file"]), rgb, line["image"])
    return Sample(f"{folder.name}_{color.stem}", rgb, camera, tuple(hands))


LAYOUT = Layout("rhd", _matches, _open)
