"""Turn crop predictions into metric depth and composite them onto the frame's pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hand_depth_ros.estimation.predictor import CropPrediction
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.crop_camera import CropCamera
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M

_LAPLACE_STD = math.sqrt(2.0)
"""Standard deviation of a Laplace distribution of scale 1."""
_KNOWN_LENGTH_SIGMA = 0.02
"""Relative sigma of a user-supplied hand length (ruler error, crease position, palm proportions;
docs/hand_length.md)."""


class Calibration(NamedTuple):
    """Factors on the network's own uncertainties, measured by tools/calibrate_sigma.py."""

    relief: float = 1.0
    apparent_size: float = 1.0
    length: float = 1.0


class HandLength(NamedTuple):
    """A hand length in metres and its relative sigma, 0-dim tensors on the device."""

    length_m: Tensor
    relative_sigma: Tensor


class MetricCrop(NamedTuple):
    """Depth along the crop's optical axis in metres and sigma as a fraction of it, both (S, S)."""

    depth_m: Tensor
    relative_sigma: Tensor


class FrameMaps(NamedTuple):
    """Composited maps (H, W) on the host: metres, metres, instance id (0: none)."""

    depth_m: np.ndarray
    sigma_m: np.ndarray
    instances: np.ndarray


def resolve_hand_length(
    prediction: CropPrediction,
    given_m: float | None,
    tracked_log_length: float | None,
    calibration: Calibration,
) -> HandLength:
    """Choose the hand length.

    The given one, else the track's running mean, else this crop's estimate.
    """
    estimate = prediction.scalars.log_length
    if given_m is not None:
        return HandLength(torch.full_like(estimate, given_m), torch.full_like(estimate, _KNOWN_LENGTH_SIGMA))
    relative = calibration.length * _LAPLACE_STD * prediction.scalars.length_log_b.exp()
    if tracked_log_length is None:
        return HandLength(MEAN_HAND_LENGTH_M * estimate.exp(), relative)
    return HandLength(torch.full_like(estimate, math.exp(tracked_log_length)), relative)


def to_metric(
    prediction: CropPrediction, crop: CropCamera, length: HandLength, calibration: Calibration
) -> MetricCrop:
    """Convert a prediction to metres: z = L * (f / S * exp(-log_apparent_size) + relief).

    Sigma adds the variances of hand length, apparent size and relief.
    """
    scalars, length_m = prediction.scalars, length.length_m
    distance = crop.f / crop.size * torch.exp(-scalars.log_apparent_size)  # in hand lengths
    depth = length_m * (distance + prediction.relief)
    size_sigma = (
        length_m * distance * calibration.apparent_size * _LAPLACE_STD * scalars.apparent_size_log_b.exp()
    )
    relief_sigma = length_m * calibration.relief * _LAPLACE_STD * prediction.relief_log_b.exp()
    sigma = torch.sqrt((depth * length.relative_sigma) ** 2 + size_sigma**2 + relief_sigma**2)
    return MetricCrop(depth, sigma / depth)


class Compositor:
    """Collect the hands of one frame.

    Each pixel goes to the hand with the highest mask probability.
    """

    def __init__(self, camera: Camera, mask_threshold: float, device: torch.device) -> None:
        self._camera = camera
        height, width = camera.height, camera.width
        self._maps = torch.full((3, height, width), torch.nan, device=device)
        self._maps[2] = 0.0
        self._best_prob = torch.full((height, width), mask_threshold, device=device)

    def add(self, instance: int, crop: CropCamera, metric: MetricCrop, mask_logits: Tensor) -> None:
        """Write one hand's depth, sigma and id where its mask probability is the highest so far."""
        placed = crop.reproject(
            self._camera, metric.depth_m, torch.sigmoid(mask_logits), {"sigma": metric.relative_sigma}
        )
        rows, columns = placed.slice_y, placed.slice_x
        wins = placed.mask > self._best_prob[rows, columns]
        wins &= torch.isfinite(placed.depth) & (placed.depth > 0)
        self._best_prob[rows, columns] = torch.where(wins, placed.mask, self._best_prob[rows, columns])
        hand = torch.stack(
            (
                placed.depth,
                placed.extras["sigma"] * placed.depth,
                torch.full_like(placed.depth, instance),
            )
        )
        self._maps[:, rows, columns] = torch.where(wins, hand, self._maps[:, rows, columns])

    def download(self) -> FrameMaps:
        """Copy the maps to the host."""
        depth, sigma, instances = self._maps.cpu().numpy()
        return FrameMaps(depth, sigma, instances.astype(np.uint8))
