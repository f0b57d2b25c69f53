"""Image and labels of a crop, and their final augmentation."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from hand_depth_ros.training.samples import augment
from hand_depth_ros.training.samples.training_data import TrainingData

Rng = np.random.Generator
_OCCLUDE_PROB, _MIRROR_PROB = 0.12, 0.5
NO_JOINTS = np.full((21, 3), np.nan, np.float32)


class CropLabels(NamedTuple):
    """Image and labels of a crop before augmentation.

    Attributes:
        rgb: uint8 (P, P, 3), P being `CropShape.input_size`.
        mask: uint8 (S, S), S being `CropShape.crop_size`: 1 hand, 0 not, 255 unknown.
        relief: float32 (S, S), depth relative to the hand's median, hand lengths; NaN unknown.
        joints: (21, 3): x, y in the crop, -1 and 1 at its edges, z as the relief; NaN unknown.
        scalars: float32 (3,): log of the apparent hand length over the crop's side, log of the
            hand length over 0.19 m, presence; NaN unknown.
        weight: Weight of the labels, 0..1.
        is_photograph: True for photographs.
    """

    rgb: np.ndarray
    mask: np.ndarray
    relief: np.ndarray
    joints: np.ndarray
    scalars: np.ndarray
    weight: float = 1.0
    is_photograph: bool = False

    def augmented(self, data: TrainingData, rng: Rng) -> dict[str, Any]:
        """Return the sample that the network is trained on.

        Its keys are this type's fields: ``rgb`` channels first, ``weight`` and ``real`` (was it a
        photograph) as float32.
        """
        rgb, mask, relief, joints = self.rgb, self.mask.copy(), self.relief, self.joints
        if rng.random() < _OCCLUDE_PROB:
            rgb, area = augment.occlude(rgb, data.backgrounds, rng)
            mask[cv2.resize(area, mask.shape, interpolation=cv2.INTER_NEAREST) > 0] = 0
            relief = np.where(mask == 1, relief, np.nan).astype(np.float32)
        rgb = augment.degrade(rgb, rng)
        if rng.random() < _MIRROR_PROB:
            rgb, mask, relief = rgb[:, ::-1], mask[:, ::-1], relief[:, ::-1]
            joints = joints * np.array((-1, 1, 1), joints.dtype)
        return {
            "rgb": np.ascontiguousarray(rgb.transpose(2, 0, 1)),
            "mask": np.ascontiguousarray(mask),
            "relief": np.ascontiguousarray(relief),
            "joints": joints.astype(np.float32),
            "scalars": self.scalars,
            "weight": np.float32(self.weight),
            "real": np.float32(self.is_photograph),
        }
