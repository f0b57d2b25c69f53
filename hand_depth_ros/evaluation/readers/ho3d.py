"""HO-3D v2 and v3 (Hampali et al., CVPR 2020), as published.

Holds train.txt, evaluation.txt, train/SEQUENCE/rgb, depth, meta; and the rendered segmentations
where they are unpacked (train/SEQUENCE/seg or HO3D_v2_segmentations_rendered/train/SEQUENCE/seg).
Sensor depth counts as the hand's where it lies near the depth range of the joints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.files import IMAGE_SUFFIXES, read_image, read_rgb
from hand_depth_ros.evaluation.readers.layout import (
    MIN_PIXELS,
    Layout,
    OpenOptions,
    annotation,
    camera_of_matrix,
    depth_near_joints,
    joints_array,
    published_parts,
    tight_box,
)
from hand_depth_ros.evaluation.readers.safe_pickle import load_plain_pickle
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand
from hand_depth_ros.geometry.boxes import Box, points_box

# MANO: wrist; index, middle, little, ring, thumb, three joints each; tips from thumb to little.
_FROM_MANO = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
_DEPTH_UNIT_M = 0.00012498664727900177
_FROM_OPENGL = np.array([1.0, -1.0, -1.0])  # its camera looks along -z, y up


def _matches(path: Path) -> bool:
    return any((path / f"{part}.txt").exists() and (path / part).is_dir() for part in ("train", "evaluation"))


def _open(path: Path, options: OpenOptions) -> Dataset:
    lines = []
    parts = published_parts(options.split, train="train", val="evaluation")
    for part in parts:
        listing = path / f"{part}.txt"
        if not listing.exists():
            raise DatasetError(f"{path} has no {part}.txt: give the --split that is there.")
        for text in listing.read_text().split():
            sequence, _, number = text.partition("/")
            lines.append({"image": text, "folder": f"{part}/{sequence}", "number": number})
    notes = ["sensor depth"]
    if "evaluation" in parts:
        notes.append(
            "evaluation: the joints are withheld, only the fraction of hands found is measured; --split train has all"
        )
    return Dataset(path, "ho3d", lines, path, _read, tuple(notes))


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    folder, number = dataset.root / line["folder"], line["number"]
    rgb = read_rgb(_image_file(folder / "rgb" / number))
    meta = folder / "meta" / f"{number}.pkl"
    about = load_plain_pickle(meta)
    camera = camera_of_matrix(annotation(about, "camMat", meta), rgb, line["image"])
    name = line["image"].replace("/", "_")
    joints = np.asarray(annotation(about, "handJoints3D", meta), np.float64)
    if joints.size == 3:
        left, top, right, bottom = (float(v) for v in annotation(about, "handBoundingBox", meta))
        return Sample(name, rgb, camera, (TrueHand(Box(left, top, right - left, bottom - top)),))
    joints = (joints_array(joints, line["image"]) * _FROM_OPENGL)[_FROM_MANO]
    mask = _segmentation(dataset.root, line, rgb.shape[:2])
    if mask is None:
        return Sample(name, rgb, camera, (TrueHand(points_box(camera.project(joints)), joints=joints),))
    if mask.sum() < MIN_PIXELS:
        return Sample(name, rgb, camera)
    coded = read_image(folder / "depth" / f"{number}.png", cv2.IMREAD_COLOR).astype(np.float32)
    depth = (coded[..., 2] + coded[..., 1] * 256) * _DEPTH_UNIT_M  # low byte red, high byte green
    depth_m = depth_near_joints(depth, mask, joints)
    return Sample(name, rgb, camera, (TrueHand(tight_box(mask), mask, depth_m, joints),))


def _segmentation(root: Path, line: dict[str, Any], shape: tuple[int, int]) -> np.ndarray | None:
    """Return the rendered mask of the hand in the image's size; None if it was not unpacked.

    The files have a quarter of the image's size, the hand in red, the object in blue.
    """
    for base in (root, root / "HO3D_v2_segmentations_rendered"):
        for suffix in (".png", ".jpg"):
            file = base / line["folder"] / "seg" / f"{line['number']}{suffix}"
            if file.exists():
                blue, green, red = cv2.split(read_image(file, cv2.IMREAD_COLOR))
                hand = ((red > 127) & (green < 128) & (blue < 128)).astype(np.uint8)
                return cv2.resize(hand, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return None


def _image_file(stem: Path) -> Path:
    """Return the image file with that stem: png in version 2, jpg in version 3."""
    for suffix in IMAGE_SUFFIXES:
        if (file := stem.with_name(stem.name + suffix)).exists():
            return file
    raise DatasetError(f"{stem}.png or .jpg is missing.")


LAYOUT = Layout("ho3d", _matches, _open)
