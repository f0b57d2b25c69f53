"""Sets that are a folder of images NAME/ beside a list NAME.jsonl: joints sets and masks sets.

joints   lines have ``joints_mm`` (21 x 3, camera frame) and intrinsics
masks    lines have ``hands`` with landmarks ``px``; beside each image lies a .png of the skin in it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.files import read_image, read_jsonl, read_rgb
from hand_depth_ros.evaluation.readers.layout import (
    Layout,
    OpenOptions,
    camera_of_line,
    entry,
)
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand
from hand_depth_ros.geometry.boxes import points_box
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.hand import FINGER_FRACTION, finger_fraction, hand_length_from_finger

_HULL_GROWTH = 0.1
"""Dilation of the landmarks' hull, of the landmark box's longer side."""


def _list_file(path: Path) -> Path | None:
    """Return the list that belongs to a path: itself, NAME.jsonl beside it or inside it."""
    candidates = (
        [path] if path.is_file() else [path.with_name(path.name + ".jsonl"), path / f"{path.name}.jsonl"]
    )
    return next((file for file in candidates if file.suffix == ".jsonl" and file.exists()), None)


def _matches(path: Path) -> bool:
    return _list_file(path) is not None


def _open(path: Path, options: OpenOptions) -> Dataset:
    file = _list_file(path)
    assert file is not None
    lines = read_jsonl(file)
    if any("joints_mm" in line for line in lines):
        return _open_joints(path, file.parent, lines)
    if any("px" in hand for line in lines for hand in line.get("hands", []) if isinstance(hand, dict)):
        return _open_masks(path, file.parent, lines, options.hfov_deg)
    raise DatasetError(f"{file}: lines have neither joints_mm nor hands with px.")


def _open_joints(path: Path, root: Path, lines: list[dict[str, Any]]) -> Dataset:
    """Open a joints set.

    Its hand length is the median over its lines of what the middle finger's bones say. It is one
    number for the set: a person's bones do not change from image to image, their annotation does,
    by 5 % and more.
    """
    arrays = [np.asarray(line["joints_mm"], np.float64) / 1000 for line in lines if "joints_mm" in line]
    all_joints = [joints for joints in arrays if joints.shape == (21, 3)]
    if not all_joints:
        return Dataset(path, "joints", lines, root, _read_joints)
    length = float(np.median([hand_length_from_finger(joints) for joints in all_joints]))
    fraction = float(np.median([finger_fraction(joints) for joints in all_joints]))
    note = (
        f"hand length {1e3 * length:.0f} mm: median over the set of the middle finger's bones / {FINGER_FRACTION:g} "
        f"(they are {100 * fraction:.0f} % of the annotation's own chain from the wrist)"
    )
    return Dataset(path, "joints", lines, root, _read_joints, (note,), hand_length_m=length)


def _open_masks(path: Path, root: Path, lines: list[dict[str, Any]], hfov_deg: float) -> Dataset:
    labelled = [line for line in lines if line.get("hands")]
    notes = [f"camera unknown: {hfov_deg:g} degrees of horizontal field of view assumed"]
    if len(labelled) < len(lines):
        notes.insert(0, f"{len(lines) - len(labelled)} images without landmarks left out")
    return Dataset(path, "masks", labelled, root, _read_masks, tuple(notes), hfov_deg=hfov_deg)


def _read_joints(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    rgb = read_rgb(dataset.root / entry(dataset, line, "image"))
    camera = camera_of_line(dataset, line, rgb)
    joints = np.asarray(entry(dataset, line, "joints_mm"), np.float64) / 1000
    if joints.shape != (21, 3):
        raise DatasetError(f"{line['image']}: joints_mm is {joints.shape}, 21 x 3 is needed.")
    box = points_box(camera.project(joints))
    return Sample(
        Path(line["image"]).stem,
        rgb,
        camera,
        (TrueHand(box, joints=joints, hand_length_m=dataset.hand_length_m),),
    )


def _read_masks(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    file = dataset.root / entry(dataset, line, "image")
    rgb = read_rgb(file)
    height, width = rgb.shape[:2]
    skin = read_image(file.with_suffix(".png"), cv2.IMREAD_GRAYSCALE) > 127
    if skin.shape != (height, width):
        raise DatasetError(f"{file.with_suffix('.png')} is not of the size of {file.name}.")
    region = np.zeros((height, width), np.uint8)
    hands = []
    for hand in entry(dataset, line, "hands"):
        points = np.asarray(hand["px"], np.float64)[:, :2]
        box = points_box(points)
        hull = np.zeros_like(region)
        cv2.fillConvexPoly(hull, cv2.convexHull(points.round().astype(np.int32)), 1)
        radius = max(1, round(_HULL_GROWTH * max(box[2:])))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        region = np.maximum(region, cv2.dilate(hull, disc))
        hands.append(TrueHand(box))
    camera = Camera.from_hfov(width, height, dataset.hfov_deg)
    return Sample(file.stem, rgb, camera, tuple(hands), skin, region.astype(bool))


LAYOUT = Layout("joints or masks", _matches, _open)
