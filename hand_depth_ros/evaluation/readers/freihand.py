"""FreiHAND v2 (Zimmermann et al., ICCV 2019), as published.

Holds training_xyz.json, training_K.json, training/rgb/, training/mask/; and the same with
evaluation_, whose truth is published apart and unpacked into the same folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.files import read_image, read_json, read_rgb
from hand_depth_ros.evaluation.readers.layout import (
    Layout,
    OpenOptions,
    camera_of_matrix,
    joints_array,
    published_parts,
    tight_box,
)
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand
from hand_depth_ros.geometry.boxes import points_box

_UNIQUE_IMAGES = 32560  # training images come four times, with other backgrounds


def _matches(path: Path) -> bool:
    return any(
        (path / f"{part}_K.json").exists() and (path / part / "rgb").is_dir()
        for part in ("training", "evaluation")
    )


def _open(path: Path, options: OpenOptions) -> Dataset:
    lines = []
    for part in published_parts(options.split, train="training", val="evaluation"):
        if not (path / f"{part}_xyz.json").exists():
            raise DatasetError(
                f"{path} has no {part}_xyz.json: unpack the published truth of that part into it, or give another --split."
            )
        matrices, joints = read_json(path / f"{part}_K.json"), read_json(path / f"{part}_xyz.json")
        if len(matrices) != len(joints):
            raise DatasetError(f"{path}: {part}_K.json and {part}_xyz.json are not of one length.")
        for file in sorted((path / part / "rgb").glob("*.jpg")):
            number = int(file.stem) % (_UNIQUE_IMAGES if part == "training" else len(joints))
            if number < len(joints):
                about = {
                    "K": matrices[number],
                    "xyz": joints[number],
                    "mask": f"{part}/mask/{number:08d}.jpg",
                }
                lines.append({"image": f"{part}/rgb/{file.name}", **about})
    return Dataset(path, "freihand", lines, path, _read, ("no depth: measured at the joints",))


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    file = dataset.root / line["image"]
    rgb = read_rgb(file)
    joints = joints_array(line["xyz"], line["image"])
    camera = camera_of_matrix(line["K"], rgb, line["image"])
    mask_file = dataset.root / line["mask"]
    mask = read_image(mask_file, cv2.IMREAD_GRAYSCALE) > 127 if mask_file.exists() else None
    box = tight_box(mask) if mask is not None and mask.any() else points_box(camera.project(joints))
    return Sample(
        f"{file.parent.parent.name}_{file.stem}", rgb, camera, (TrueHand(box, mask, joints=joints),)
    )


LAYOUT = Layout("freihand", _matches, _open)
