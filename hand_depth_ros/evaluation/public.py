"""Public hand data sets as they are published, unpacked and otherwise untouched.

rhd       Rendered Handpose Dataset (Zimmermann, Brox, ICCV 2017), ``RHD_published_v2``: training/ and evaluation/ with
          color/, depth/, mask/ and anno_training.pickle, anno_evaluation.pickle
freihand  FreiHAND v2 (Zimmermann et al., ICCV 2019): training_xyz.json, training_K.json, training/rgb/, training/mask/; and
          with evaluation_ instead, whose truth is published apart and unpacked into the same folder
ho3d      HO-3D v2, v3 (Hampali et al., CVPR 2020): train.txt, evaluation.txt, train/SEQUENCE/rgb, depth, meta, and the rendered
          segmentations where they are unpacked (train/SEQUENCE/seg or HO3D_v2_segmentations_rendered/train/SEQUENCE/seg)
dexycb    DexYCB (Chao et al., CVPR 2021): calibration/, SUBJECT/SEQUENCE/SERIAL/ with color_, aligned_depth_to_color_, labels_

Joints come out in our order (wrist, then thumb to little finger from the palm outwards), metres, optical frame.
Sensor depth counts as the hand's where it lies near the depth range of the joints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.safe_pickle import load_plain_pickle
from hand_depth_ros.evaluation.samples import (
    IMAGE_ENDINGS,
    Dataset,
    Sample,
    TrueHand,
    box_of_mask,
    box_of_points,
    pinhole,
    read_image,
    read_json,
    read_rgb,
)

MIN_PIXELS = 100
"""A hand that shows fewer is left out: a finger tip at the border says nothing."""

_SENSOR_MARGIN_M = 0.04

# RHD: in each hand the wrist, then the fingers from the tip to the palm; left hand first.
_FROM_RHD = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
_RHD_HANDS = ((0, 2, 17), (21, 18, 33))  # first joint, first and last mask value
_RHD_FARTHEST_M = 5.0

_FREIHAND_UNIQUE = 32560  # training pictures come four times, with other backgrounds

# MANO: wrist; index, middle, little, ring, thumb, three joints each; then the tips of thumb to little finger.
_FROM_MANO = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
_HO3D_UNIT_M = 0.00012498664727900177
_OPENGL = np.array([1.0, -1.0, -1.0])  # its camera looks along -z, y up

_DEXYCB_HAND = 255


@dataclass(frozen=True)
class Layout:
    """How a set is recognised, which images (lines) a split has, with notes on it, and how one is read."""

    is_at: Callable[[Path], bool]
    lines: Callable[[Path, str | None], tuple[list[dict[str, Any]], list[str]]]
    read: Callable[[Dataset, int, dict[str, Any]], Sample]


def recognise(path: Path) -> str | None:
    """Which public set lies in the folder; None: none of them."""
    return next((kind for kind, layout in LAYOUTS.items() if path.is_dir() and layout.is_at(path)), None)


def _parts(split: str | None, **names: str) -> list[str]:
    """The published parts that are our split (None: all)."""
    if split is None:
        return list(dict.fromkeys(names.values()))
    if split not in names:
        raise DatasetError(f"there is no split {split!r} here, give one of {', '.join([*names, 'all'])}.")
    return [names[split]]


def _near(depth: np.ndarray, mask: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Sensor depth (m) in the mask, NaN where it is none or not within some cm of the joints: edges, things in front."""
    low, high = joints[:, 2].min() - _SENSOR_MARGIN_M, joints[:, 2].max() + _SENSOR_MARGIN_M
    good = mask & (depth > low) & (depth < high) & (depth > 0)
    return np.where(good, depth, np.nan).astype(np.float32)


def _joints(values: Any, name: str) -> np.ndarray:
    joints = np.asarray(values, np.float64)
    if joints.shape != (21, 3):
        raise DatasetError(f"{name}: the joints are {joints.shape}, 21 x 3 is needed.")
    return joints


def _field(about: Any, key: str, file: Path) -> Any:
    if not isinstance(about, dict) or key not in about:
        raise DatasetError(f"{file} has no {key!r}.")
    return about[key]


# RHD


def _rhd_at(path: Path) -> bool:
    return any((path / part / f"anno_{part}.pickle").exists() for part in ("training", "evaluation"))


def _rhd_lines(path: Path, split: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    lines = []
    for part in _parts(split, train="training", val="evaluation"):
        file = path / part / f"anno_{part}.pickle"
        annotation = load_plain_pickle(file)
        if not isinstance(annotation, dict):
            raise DatasetError(f"{file} is not the annotation of RHD: no dictionary in it.")
        for number, about in sorted(annotation.items()):
            lines.append({"image": f"{part}/color/{number:05d}.png", "file": file, "about": about})
    return lines, [f"hands of {MIN_PIXELS} pixels or more"]


def _rhd_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    color = dataset.root / line["image"]
    rgb, folder = read_rgb(color), color.parent.parent
    coded = read_image(folder / "depth" / color.name, cv2.IMREAD_COLOR).astype(np.float32)
    depth = (coded[..., 2] * 256 + coded[..., 1]) / 65535 * _RHD_FARTHEST_M  # high byte red, low byte green
    labels = read_image(folder / "mask" / color.name, cv2.IMREAD_GRAYSCALE)
    xyz = np.asarray(_field(line["about"], "xyz", line["file"]), np.float64)
    hands = []
    for first, low, high in _RHD_HANDS:
        mask = (labels >= low) & (labels <= high)
        if mask.sum() < MIN_PIXELS:
            continue
        joints = _joints(xyz[first : first + 21], line["image"])[_FROM_RHD]
        depth_m = np.where(mask, depth, np.nan).astype(np.float32)
        hands.append(TrueHand(box_of_mask(mask), mask, depth_m, joints))
    camera = pinhole(_field(line["about"], "K", line["file"]), rgb, line["image"])
    return Sample(f"{folder.name}_{color.stem}", rgb, camera, tuple(hands))


# FreiHAND


def _freihand_at(path: Path) -> bool:
    return any(
        (path / f"{part}_K.json").exists() and (path / part / "rgb").is_dir()
        for part in ("training", "evaluation")
    )


def _freihand_lines(path: Path, split: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    lines = []
    for part in _parts(split, train="training", val="evaluation"):
        if not (path / f"{part}_xyz.json").exists():
            raise DatasetError(
                f"{path} has no {part}_xyz.json: unpack the published truth of that part into it, or give another --split."
            )
        matrices, joints = read_json(path / f"{part}_K.json"), read_json(path / f"{part}_xyz.json")
        if len(matrices) != len(joints):
            raise DatasetError(f"{path}: {part}_K.json and {part}_xyz.json are not of one length.")
        for file in sorted((path / part / "rgb").glob("*.jpg")):
            number = int(file.stem) % (_FREIHAND_UNIQUE if part == "training" else len(joints))
            if number < len(joints):
                about = {
                    "K": matrices[number],
                    "xyz": joints[number],
                    "mask": f"{part}/mask/{number:08d}.jpg",
                }
                lines.append({"image": f"{part}/rgb/{file.name}", **about})
    return lines, ["no depth: measured at the joints"]


def _freihand_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    file = dataset.root / line["image"]
    rgb = read_rgb(file)
    joints = _joints(line["xyz"], line["image"])
    camera = pinhole(line["K"], rgb, line["image"])
    mask_file = dataset.root / line["mask"]
    mask = read_image(mask_file, cv2.IMREAD_GRAYSCALE) > 127 if mask_file.exists() else None
    box = box_of_mask(mask) if mask is not None and mask.any() else box_of_points(camera.project(joints))
    return Sample(
        f"{file.parent.parent.name}_{file.stem}", rgb, camera, (TrueHand(box, mask, joints=joints),)
    )


# HO-3D


def _ho3d_at(path: Path) -> bool:
    return any((path / f"{part}.txt").exists() and (path / part).is_dir() for part in ("train", "evaluation"))


def _ho3d_lines(path: Path, split: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    lines = []
    parts = _parts(split, train="train", val="evaluation")
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
            "evaluation: the joints are withheld, only whether hands are found can be told; --split train has all"
        )
    return lines, notes


def _ho3d_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    folder, number = dataset.root / line["folder"], line["number"]
    rgb = read_rgb(_one_of(folder / "rgb" / number))
    meta = folder / "meta" / f"{number}.pkl"
    about = load_plain_pickle(meta)
    camera = pinhole(_field(about, "camMat", meta), rgb, line["image"])
    name = line["image"].replace("/", "_")
    joints = np.asarray(_field(about, "handJoints3D", meta), np.float64)
    if joints.size == 3:
        left, top, right, bottom = (float(v) for v in _field(about, "handBoundingBox", meta))
        return Sample(name, rgb, camera, (TrueHand((left, top, right - left, bottom - top)),))
    joints = (_joints(joints, line["image"]) * _OPENGL)[_FROM_MANO]
    mask = _ho3d_mask(dataset.root, line, rgb.shape[:2])
    if mask is None:
        return Sample(name, rgb, camera, (TrueHand(box_of_points(camera.project(joints)), joints=joints),))
    if mask.sum() < MIN_PIXELS:
        return Sample(name, rgb, camera)
    coded = read_image(folder / "depth" / f"{number}.png", cv2.IMREAD_COLOR).astype(np.float32)
    depth = (coded[..., 2] + coded[..., 1] * 256) * _HO3D_UNIT_M  # low byte red, high byte green
    return Sample(name, rgb, camera, (TrueHand(box_of_mask(mask), mask, _near(depth, mask, joints), joints),))


def _ho3d_mask(root: Path, line: dict[str, Any], shape: tuple[int, int]) -> np.ndarray | None:
    """The rendered segmentation (a quarter of the size, hand red, object blue) in the picture's size; None: not unpacked."""
    for base in (root, root / "HO3D_v2_segmentations_rendered"):
        for ending in (".png", ".jpg"):
            file = base / line["folder"] / "seg" / f"{line['number']}{ending}"
            if file.exists():
                blue, green, red = cv2.split(read_image(file, cv2.IMREAD_COLOR))
                hand = ((red > 127) & (green < 128) & (blue < 128)).astype(np.uint8)
                return cv2.resize(hand, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return None


def _one_of(stem: Path) -> Path:
    """The image file of that name without its ending: png in version 2, jpg in version 3."""
    for ending in IMAGE_ENDINGS:
        if (file := stem.with_name(stem.name + ending)).exists():
            return file
    raise DatasetError(f"{stem}.png or .jpg is missing.")


# DexYCB


def _dexycb_at(path: Path) -> bool:
    return (path / "calibration" / "intrinsics").is_dir() and any(_dexycb_subjects(path))


def _dexycb_subjects(path: Path) -> Iterator[Path]:
    return (p for p in sorted(path.iterdir()) if p.is_dir() and "-subject-" in p.name)


def _dexycb_lines(path: Path, split: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Splits of its setup s0: every fifth sequence is held out, of subjects 1 and 2 for val, of the others for test."""
    wanted = set(_parts(split, train="train", val="val", test="test"))
    lines = []
    for subject in _dexycb_subjects(path):
        first = subject.name.rpartition("-")[2] in ("01", "02")
        for i, sequence in enumerate(sorted(p for p in subject.iterdir() if p.is_dir())):
            if ("train" if i % 5 != 4 else "val" if first else "test") in wanted:
                for file in sorted(sequence.glob("*/color_*.jpg")):
                    lines.append({"image": file.relative_to(path).as_posix()})
    return lines, [f"sensor depth; hands of {MIN_PIXELS} pixels or more"]


def _dexycb_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
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
    lens = dataset.root / "calibration" / "intrinsics" / f"{serial}_{width}x{height}.yml"
    try:
        color = yaml.safe_load(lens.read_text())["color"]
        matrix = [[color["fx"], 0, color["ppx"]], [0, color["fy"], color["ppy"]], [0, 0, 1]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DatasetError(f"{lens} does not say the colour camera's fx, fy, ppx, ppy: {error}.") from error
    camera = pinhole(matrix, rgb, line["image"])
    name = "_".join(file.relative_to(dataset.root).parts[:-1]) + f"_{number}"
    mask = seg == _DEXYCB_HAND
    joints = _joints(joint_3d.reshape(-1, 3), line["image"])
    if mask.sum() < MIN_PIXELS or (joints == -1).all():  # all -1: no hand in view
        return Sample(name, rgb, camera)
    depth = _near(raw.astype(np.float32) / 1000, mask, joints)
    return Sample(name, rgb, camera, (TrueHand(box_of_mask(mask), mask, depth, joints),))


LAYOUTS: dict[str, Layout] = {
    "rhd": Layout(_rhd_at, _rhd_lines, _rhd_sample),
    "freihand": Layout(_freihand_at, _freihand_lines, _freihand_sample),
    "ho3d": Layout(_ho3d_at, _ho3d_lines, _ho3d_sample),
    "dexycb": Layout(_dexycb_at, _dexycb_lines, _dexycb_sample),
}
