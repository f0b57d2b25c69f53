"""Run the depth network on crops of a frame and give its answer names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from hand_depth_ros.estimation.frame import Frame
from hand_depth_ros.geometry.crop_camera import MARGIN, CropCamera
from hand_depth_ros.geometry.hand import MIN_PALM_FRACTION

Number = TypeVar("Number", bound=Any)  # a 0-dim tensor or a float32
Network = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

_HAND_EXTENT_IN_CROP = 2 / MARGIN
"""Extent of a hand in its crop, the crop being 2 wide."""


class CropScalars(NamedTuple, Generic[Number]):
    """The network's numbers for one crop, on the device (0-dim tensors) or on the host (float32).

    Attributes:
        log_apparent_size: log(s / S), s the apparent hand length and S the crop's side, both in
            crop pixels.
        apparent_size_log_b: Log of its Laplace scale.
        log_length: log(L / MEAN_HAND_LENGTH_M), L the hand length.
        length_log_b: Log of its Laplace scale.
        hand_prob: Probability that the crop shows a hand.
        mask_confidence: Mean mask probability of the pixels that are called hand.
        knuckles_right, knuckles_down: From the wrist to the knuckles in the crop, the crop being 2
            wide.
    """

    log_apparent_size: Number
    apparent_size_log_b: Number
    log_length: Number
    length_log_b: Number
    hand_prob: Number
    mask_confidence: Number
    knuckles_right: Number
    knuckles_down: Number

    @property
    def presence(self) -> float:
        """Return how sure the network is that the crop shows a hand, 0..1."""
        return float(self.hand_prob * self.mask_confidence)

    def upright_roll(self, roll: float) -> float:
        """Return the roll that turns the hand upright, radians; ``roll`` is that of its crop.

        It stays as it is where palm and fingers point at the camera, so that no direction is
        up.
        """
        right, down = float(self.knuckles_right), float(self.knuckles_down)
        if not math.hypot(right, down) > MIN_PALM_FRACTION * _HAND_EXTENT_IN_CROP:
            return roll
        return math.remainder(roll + math.atan2(right, -down), 2 * math.pi)


class CropPrediction(NamedTuple):
    """The network's answer for one crop, float32 on the device.

    Attributes:
        mask_logits: (S, S) logit of "this pixel is the hand".
        relief: (S, S) depth relative to the hand's median, in hand lengths.
        relief_log_b: (S, S) log of the relief's Laplace scale, hand lengths.
        scalars: Numbers for the whole crop.
    """

    mask_logits: Tensor
    relief: Tensor
    relief_log_b: Tensor
    scalars: CropScalars[Tensor]


def scalars_to_host(predictions: Sequence[CropPrediction]) -> list[CropScalars[np.float32]]:
    """Download the scalars of several crops at once."""
    table = torch.stack([torch.stack(prediction.scalars) for prediction in predictions]).cpu().numpy()
    return [CropScalars(*row) for row in table]


class HandPredictor:
    """Sample crops from a frame and run the depth network on them."""

    def __init__(self, network: Network, device: torch.device, input_size: int) -> None:
        self._network, self._device, self._input_size = network, device, input_size

    def predict(
        self, frame: Frame, crops: Sequence[CropCamera], mask_threshold: float
    ) -> list[CropPrediction]:
        """Return the network's answer for each crop, in one batch."""
        images = [crop.resized(self._input_size).sample(frame.camera, frame.image) for crop in crops]
        batch = torch.stack(images) / 255
        with torch.autocast(self._device.type, torch.float16, enabled=self._device.type == "cuda"):
            maps, scalars, knuckles = self._network(batch.contiguous(memory_format=torch.channels_last))
        maps, scalars, knuckles = maps.float(), scalars.float(), knuckles.float()
        mask = torch.sigmoid(maps[:, 0])
        hand = mask > mask_threshold
        confidence = (mask * hand).sum((1, 2)) / hand.sum((1, 2)).clamp_min(1)
        per_crop = (*scalars[:, :4].unbind(1), torch.sigmoid(scalars[:, 4]), confidence, *knuckles.unbind(1))
        numbers = zip(*(column.unbind() for column in per_crop), strict=True)
        return [
            CropPrediction(mask_logits, relief, relief_log_b, CropScalars(*values))
            for (mask_logits, relief, relief_log_b), values in zip(maps, numbers, strict=True)
        ]
