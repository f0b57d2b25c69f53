"""The parts of a data set layout, and helpers that several layouts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.errors import CameraError, DatasetError
from hand_depth_ros.evaluation.samples import Dataset
from hand_depth_ros.geometry.boxes import Box, mask_box
from hand_depth_ros.geometry.camera import Camera

MIN_PIXELS = 100
"""Hands that show fewer pixels are left out: a fingertip at the border says nothing."""

_SENSOR_MARGIN_M = 0.04


@dataclass(frozen=True)
class OpenOptions:
    """Options for opening a data set.

    Attributes:
        split: Name of the split to read; None reads all.
        backgrounds: Folder of photographs to lay behind transparent images; None lays grey.
        hfov_deg: Horizontal field of view of unknown cameras, degrees.
        arm_in_masks: True if the set's masks show the arm as well as the hand.
    """

    split: str | None = "val"
    backgrounds: Path | None = None
    hfov_deg: float = 60.0
    arm_in_masks: bool = False


@dataclass(frozen=True)
class Layout:
    """One way to lay out a data set on disk.

    Attributes:
        kind: Name in reports.
        matches: Tells whether a path holds this layout.
        open: Lists the images and returns the data set; reads no image.
    """

    kind: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, OpenOptions], Dataset]


def published_parts(split: str | None, **names: str) -> list[str]:
    """Return the published parts that make up our split; None selects all."""
    if split is None:
        return list(dict.fromkeys(names.values()))
    if split not in names:
        raise DatasetError(f"there is no split {split!r} here, give one of {', '.join([*names, 'all'])}.")
    return [names[split]]


def depth_near_joints(depth: np.ndarray, mask: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Return sensor depth (m) inside the mask near the depth range of the joints, else NaN.

    Drops flying pixels at edges and things in front of the hand.
    """
    low, high = joints[:, 2].min() - _SENSOR_MARGIN_M, joints[:, 2].max() + _SENSOR_MARGIN_M
    good = mask & (depth > low) & (depth < high) & (depth > 0)
    return np.where(good, depth, np.nan).astype(np.float32)


def joints_array(values: Any, name: str) -> np.ndarray:
    """Return 21 joints as float64 (21, 3); DatasetError names the image otherwise."""
    joints = np.asarray(values, np.float64)
    if joints.shape != (21, 3):
        raise DatasetError(f"{name}: the joints are {joints.shape}, 21 x 3 is needed.")
    return joints


def annotation(about: Any, key: str, file: Path) -> Any:
    """Return one entry of an annotation dictionary; DatasetError names its file otherwise."""
    if not isinstance(about, dict) or key not in about:
        raise DatasetError(f"{file} has no {key!r}.")
    return about[key]


def entry(dataset: Dataset, line: dict[str, Any], key: str) -> Any:
    """Return one entry of an image's line; DatasetError names the image otherwise."""
    if key not in line:
        raise DatasetError(f"{dataset.path}: the line of {line.get('image', '?')} has no {key!r}.")
    return line[key]


def tight_box(mask: np.ndarray) -> Box:
    """Return the tight box of a mask that has pixels."""
    box = mask_box(mask)
    assert box is not None
    return box


def camera_of_line(dataset: Dataset, line: dict[str, Any], rgb: np.ndarray) -> Camera:
    """Return the camera of an image's line: width, height, fx, fy, cx, cy, perhaps a distortion."""
    numbers = {name: entry(dataset, line, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    model = line.get("distortion_model")
    lens = {"distortion_model": model, "d": tuple(line.get("d", ()))} if model else {}
    try:
        camera = Camera(**numbers, **lens)
    except CameraError as error:
        raise DatasetError(f"{dataset.path}, image {line['image']}: {error}") from error
    if (camera.height, camera.width) != rgb.shape[:2]:
        size = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise DatasetError(f"{line['image']} is {size}, its line says {camera.width}x{camera.height}.")
    return camera


def camera_of_matrix(matrix: Any, rgb: np.ndarray, name: str) -> Camera:
    """Return the camera of a 3 x 3 intrinsic matrix; DatasetError names the image otherwise."""
    k = np.asarray(matrix, np.float64)
    if k.shape != (3, 3):
        raise DatasetError(f"{name}: the camera matrix is {k.shape}, 3 x 3 is needed.")
    height, width = rgb.shape[:2]
    try:
        return Camera(
            width=width,
            height=height,
            fx=float(k[0, 0]),
            fy=float(k[1, 1]),
            cx=float(k[0, 2]),
            cy=float(k[1, 2]),
        )
    except CameraError as error:
        raise DatasetError(f"{name}: {error}") from error
