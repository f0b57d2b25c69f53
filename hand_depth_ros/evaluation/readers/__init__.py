"""Open data sets with known truth; the files in a folder tell which layout it has.

To add a data set, write a module with a ``LAYOUT`` (see :mod:`.layout`) and list it here.

folder       cameras.jsonl with rgb/ and depth/: the sets of ``hand-depth synth`` and their like
sidecar      cameras.jsonl and images in one folder, labels beside each image
joints       NAME/ of images beside NAME.jsonl, whose lines have ``joints_mm`` and intrinsics
masks        NAME/ of images and .png masks of skin beside NAME.jsonl, whose lines have landmarks
rhd, freihand, ho3d, dexycb   those public sets as published
backgrounds  a folder of plain images without hands

Joints come out in our order (wrist, then thumb to little finger from the palm outwards), metres,
optical frame.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.readers import (
    backgrounds,
    dexycb,
    folder,
    freihand,
    ho3d,
    listing,
    rhd,
    sidecar,
)
from hand_depth_ros.evaluation.readers.layout import Layout, OpenOptions
from hand_depth_ros.evaluation.samples import Dataset, Sample, TrueHand

__all__ = ["Dataset", "OpenOptions", "Sample", "TrueHand", "open_dataset"]

PUBLISHED: tuple[Layout, ...] = (rhd.LAYOUT, freihand.LAYOUT, ho3d.LAYOUT, dexycb.LAYOUT)
LAYOUTS: tuple[Layout, ...] = (
    *PUBLISHED,
    folder.LAYOUT,
    sidecar.LAYOUT,
    listing.LAYOUT,
    backgrounds.LAYOUT,
)
"""In the order in which they are tried: each may rely on those before it not matching."""


def open_dataset(
    path: Path,
    *,
    split: str | None = "val",
    limit: int | None = None,
    backgrounds: Path | None = None,
    hfov_deg: float = 60.0,
    arm_in_masks: bool = False,
) -> Dataset:
    """Recognise and open a data set.

    Args:
        path: Folder or list file of the set.
        split: Read only this split of a set that has splits; None reads all.
        limit: Read only that many images, evenly spread.
        backgrounds: Photographs to lay behind a transparent set; grey without.
        hfov_deg: Horizontal field of view of images whose camera is unknown, degrees.
        arm_in_masks: The set's masks show the arm too (sidecar layout).

    Raises:
        DatasetError: The path holds no known layout, or nothing to measure on.
    """
    path = Path(path)
    layout = _recognise(path)
    dataset = layout.open(path, OpenOptions(split, backgrounds, hfov_deg, arm_in_masks))
    _check_not_empty(dataset, layout, split)
    return _limited(_with_unused_backgrounds_noted(dataset, backgrounds), limit)


def _recognise(path: Path) -> Layout:
    if not path.exists():
        raise DatasetError(f"{path} does not exist.")
    for layout in LAYOUTS:
        if layout.matches(path):
            return layout
    raise DatasetError(
        f"{path} is no data set known here. Give a folder with cameras.jsonl, rgb/ and depth/, or with cameras.jsonl "
        "and images; a folder or .jsonl of images with joints or with masks and landmarks; the folder that RHD, FreiHAND, "
        "HO-3D or DexYCB was unpacked into; or a folder of images without hands."
    )


def _check_not_empty(dataset: Dataset, layout: Layout, split: str | None) -> None:
    if dataset.lines:
        return
    if layout in PUBLISHED and split is not None:
        raise DatasetError(
            f"{dataset.path} has nothing of split {split!r} unpacked: unpack it too, or give --split all."
        )
    raise DatasetError(
        f"{dataset.path} has no images to measure on: its list is empty, or nothing in it has a hand."
    )


def _with_unused_backgrounds_noted(dataset: Dataset, backgrounds: Path | None) -> Dataset:
    if not backgrounds or dataset.backgrounds:
        return dataset
    return replace(dataset, notes=(*dataset.notes, "not transparent: backgrounds are not used"))


def _limited(dataset: Dataset, limit: int | None) -> Dataset:
    """Return the data set with at most ``limit`` images, evenly spread."""
    if limit is None or limit >= len(dataset):
        return dataset
    picked = np.linspace(0, len(dataset) - 1, limit).round().astype(int)
    lines = [dataset.lines[i] for i in picked]
    return replace(dataset, lines=lines, notes=(*dataset.notes, f"{limit} images, evenly spread"))
