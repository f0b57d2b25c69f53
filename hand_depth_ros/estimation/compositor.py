"""Turn crop predictions into metric depth and composite them onto the frame's pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hand_depth_ros.estimation.predictor import CropPrediction
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.crop_camera import CropCamera, Reprojected
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
    """Composited maps of the part of the frame that holds hands, on the host.

    Attributes:
        window: Rows and columns of that part in the frame.
        depth_m: (h, w), metres along the optical axis, NaN where there is no hand.
        sigma_m: (h, w), metres.
        instances: uint8 (h, w), the hand's id, 0 where there is none.
    """

    window: tuple[slice, slice]
    depth_m: np.ndarray
    sigma_m: np.ndarray
    instances: np.ndarray

    @property
    def offset(self) -> tuple[int, int]:
        """Return the frame coordinates (x, y) of the window's upper left pixel."""
        rows, columns = self.window
        return columns.start, rows.start


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
    """Collect the hands of one frame; each pixel goes to the hand with the highest mask value."""

    def __init__(self, camera: Camera, mask_threshold: float, device: torch.device) -> None:
        self._camera, self._mask_threshold, self._device = camera, mask_threshold, device
        self._hands: list[tuple[int, Reprojected]] = []

    def add(self, instance: int, crop: CropCamera, metric: MetricCrop, mask_logits: Tensor) -> None:
        """Resample one hand's depth, sigma and mask onto the frame's pixels."""
        extras = {"sigma": metric.relative_sigma}
        placed = crop.reproject(self._camera, metric.depth_m, torch.sigmoid(mask_logits), extras)
        if placed.depth.numel():
            self._hands.append((instance, placed))

    def composite(self) -> FrameMaps:
        """Resolve overlaps within the rectangle around all hands and copy it to the host."""
        rows = _hull_of_slices([placed.slice_y for _, placed in self._hands])
        columns = _hull_of_slices([placed.slice_x for _, placed in self._hands])
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        maps = torch.full((3, *shape), torch.nan, device=self._device)
        maps[2] = 0.0
        best_prob = torch.full(shape, self._mask_threshold, device=self._device)
        for instance, placed in self._hands:
            part = _relative(placed.slice_y, rows), _relative(placed.slice_x, columns)
            wins = placed.mask > best_prob[part]
            wins &= torch.isfinite(placed.depth) & (placed.depth > 0)
            best_prob[part] = torch.where(wins, placed.mask, best_prob[part])
            sigma = placed.extras["sigma"] * placed.depth
            hand = torch.stack((placed.depth, sigma, torch.full_like(placed.depth, instance)))
            maps[:, part[0], part[1]] = torch.where(wins, hand, maps[:, part[0], part[1]])
        depth, sigma_m, instances = maps.cpu().numpy()
        return FrameMaps((rows, columns), depth, sigma_m, instances.astype(np.uint8))


def _hull_of_slices(slices: list[slice]) -> slice:
    """Return the smallest slice that holds all of these; an empty one for none."""
    if not slices:
        return slice(0, 0)
    return slice(min(part.start for part in slices), max(part.stop for part in slices))


def _relative(part: slice, outer: slice) -> slice:
    """Return a slice's position within another."""
    return slice(part.start - outer.start, part.stop - outer.start)
