"""DexYCB (Chao et al., CVPR 2021), as published.

Holds calibration/ and SUBJECT/SEQUENCE/SERIAL/ with color_, aligned_depth_to_color_ and labels_
files. Sensor depth counts as the hand's where it lies near the depth range of the joints.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.files import read_image, read_rgb
from hand_depth_ros.evaluation.readers.layout import (
    MIN_PIXELS,
    Layout,
    OpenOptions,
    camera_of_matrix,
    depth_near_joints,
    joints_array,
    published_parts,
    tight_box,
)
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand

_HAND = 255  # label of the hand in a segmentation


def _matches(path: Path) -> bool:
    return (path / "calibration" / "intrinsics").is_dir() and any(_subjects(path))


def _subjects(path: Path) -> Iterator[Path]:
    return (p for p in sorted(path.iterdir()) if p.is_dir() and "-subject-" in p.name)


def _open(path: Path, options: OpenOptions) -> Dataset:
    """List the images of a split of its setup s0.

    Every fifth sequence is held out: those of subjects 1 and 2 for val, the others for test.
    """
    wanted = set(published_parts(options.split, train="train", val="val", test="test"))
    lines = []
    for subject in _subjects(path):
        first = subject.name.rpartition("-")[2] in ("01", "02")
        for i, sequence in enumerate(sorted(p for p in subject.iterdir() if p.is_dir())):
            if ("train" if i % 5 != 4 else "val" if first else "test") in wanted:
                for file in sorted(sequence.glob("*/color_*.jpg")):
                    lines.append({"image": file.relative_to(path).as_posix()})
    return Dataset(
        path, "dexycb", lines, path, _read, (f"sensor depth; hands of {MIN_PIXELS} pixels or more",)
    )


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    file = dataset.root / line["image"]
    rgb, number = read_rgb(file), file.stem.removeprefix("color_")
    raw = read_image(file.with_name(f"aligned_depth_to_color_{number}.png"), cv2.IMREAD_UNCHANGED)
    labels = file.with_name(f"labels_{number}.npz")
    try:
        with np.load(labels, allow_pickle=False) as content:
            seg, joint_3d = content["seg"], content["joint_3d"]
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(f"{labels} cannot be used: {error}.") from error
    serial, (height, width) = file.parent.name, rgb.shape[:2]
    intrinsics = dataset.root / "calibration" / "intrinsics" / f"{serial}_{width}x{height}.yml"
    try:
        color = yaml.safe_load(intrinsics.read_text())["color"]
        matrix = [[color["fx"], 0, color["ppx"]], [0, color["fy"], color["ppy"]], [0, 0, 1]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{intrinsics} does not say the colour camera's fx, fy, ppx, ppy: {error}."
        ) from error
    camera = camera_of_matrix(matrix, rgb, line["image"])
    name = "_".join(file.relative_to(dataset.root).parts[:-1]) + f"_{number}"
    mask = seg == _HAND
    joints = joints_array(joint_3d.reshape(-1, 3), line["image"])
    if mask.sum() < MIN_PIXELS or (joints == -1).all():  # all -1: no hand in view
        return Sample(name, rgb, camera)
    depth = depth_near_joints(raw.astype(np.float32) / 1000, mask, joints)
    return Sample(name, rgb, camera, (TrueHand(tight_box(mask), mask, depth, joints),))


LAYOUT = Layout("dexycb", _matches, _open)
