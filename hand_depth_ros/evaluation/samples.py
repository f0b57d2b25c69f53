"""Types that every data set reader returns: images with cameras and annotated hands.

Imports nothing else of the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.geometry.boxes import Box
from hand_depth_ros.geometry.camera import Camera


@dataclass(frozen=True)
class TrueHand:
    """The annotation of one hand; fields that the data set lacks are None.

    Attributes:
        box: Tight box of all visible parts.
        mask: bool (H, W), the hand's pixels.
        depth_m: float32 (H, W) metres, NaN outside of the mask or where unknown.
        joints: float64 (21, 3) metres in the camera's optical frame.
        hand_length_m: Wrist crease to middle fingertip, metres.
        arm_in_mask: True if the mask shows the arm too: then it bounds the hand, but is not the
            hand's own.
    """

    box: Box
    mask: np.ndarray | None = None
    depth_m: np.ndarray | None = None
    joints: np.ndarray | None = None
    hand_length_m: float | None = None
    arm_in_mask: bool = False


@dataclass(frozen=True)
class Sample:
    """One image with its camera and true hands.

    Attributes:
        name: For reports.
        rgb: uint8 (H, W, 3).
        camera: Intrinsics of this image.
        hands: The annotated hands.
        skin: bool (H, W), skin; masks sets only.
        region: bool (H, W), where predicted hands are compared with ``skin``; masks sets only.
        ignore: bool (H, W), pixels whose label is not known ("do not care").
        scene_depth_m: float32 (H, W) metres, sensor depth of the whole scene, NaN in holes.
        unlocated_hand: True if the image shows a hand, but nothing says where.
    """

    name: str
    rgb: np.ndarray
    camera: Camera
    hands: tuple[TrueHand, ...] = ()
    skin: np.ndarray | None = None
    region: np.ndarray | None = None
    ignore: np.ndarray | None = None
    scene_depth_m: np.ndarray | None = None
    unlocated_hand: bool = False


@dataclass(frozen=True)
class Dataset:
    """An opened data set: iterate over it to read its samples.

    Attributes:
        path: What the user named.
        kind: The layout, for example "folder" or "freihand".
        lines: One entry per image, as the layout lists it.
        root: Folder that image paths are relative to.
        read: Reads the image of a line: ``read(dataset, index, line)``.
        notes: Remarks for the report.
        depth_unit_m: Metres that the value 1 of a depth image stands for.
        hfov_deg: Horizontal field of view of unknown cameras, degrees.
        hand_length_m: Hand length of all hands of the set, if they are one person's.
        backgrounds: Photographs to lay behind transparent images; none: grey.
        arm_in_masks: True if the masks show the arm as well as the hand.
    """

    path: Path
    kind: str
    lines: list[dict[str, Any]]
    root: Path
    read: Callable[[Dataset, int, dict[str, Any]], Sample]
    notes: tuple[str, ...] = ()
    depth_unit_m: float = 0.001
    hfov_deg: float = 60.0
    hand_length_m: float | None = None
    backgrounds: list[Path] = field(default_factory=list)
    arm_in_masks: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Sample]:
        for index, line in enumerate(self.lines):
            yield self.read(self, index, line)
