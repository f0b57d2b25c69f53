"""Refit photographs' labels to a depth network's predictions and usual proportions.

The landmark model's apparent sizes scatter by 13 %, most where a hand is foreshortened, and its
depths are as uncertain. But all hands have nearly the same proportions: a bone that is too short in
the image is tilted, and if no bone has its length the hand is farther away. So apparent size and
joints are fitted such that every bone has its usual length, as closely as both predictions
allow (maximum a posteriori; pose and scale from known bones: Taylor, CVIU 80(3), 2000). The usual
lengths are the photographs' own medians.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from hand_depth_ros.geometry.crop_camera import MARGIN
from hand_depth_ros.geometry.hand import wrist_to_knuckles
from hand_depth_ros.network import HandDepthNet
from hand_depth_ros.training.data.photographs import Photograph, PseudoLabel
from hand_depth_ros.training.labels.pseudo_labels import swept_surface
from hand_depth_ros.training.samples.warp import CropShape, planar_rotation, similarity, warp

VERSION = 1
"""Raise when labels change, so that caches are recomputed."""

BONES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 4)]
    + [(a, b) for knuckle in (5, 9, 13, 17) for a, b in ((0, knuckle), *((knuckle + i, knuckle + i + 1) for i in range(3)))]
    + [(5, 9), (9, 13), (13, 17), (1, 5)]
)  # fmt: skip
"""(24, 2) joints at fixed distances: the bones, and pairs across the palm."""
_VIEWS = ((0.0, False), (0.2, False), (-0.2, True))
"""Crops per hand: roll from upright in radians, clockwise, and whether it is mirrored."""
_BONE_STD = 0.1
"""Standard deviation of a bone's length, as a fraction of its usual length."""
_DEPTH_STD, _POSITION_STD = 0.03, 0.015
"""Standard deviations of a joint's depth and position, hand lengths."""
_LOG_SIZE_STD = 0.1
_HUBER_DELTA = 1.5
"""In standard deviations of a bone."""
_DISTANCE = 2.5
"""Assumed distance, hand lengths: a joint nearer by 0.1 looks 4 % larger."""
_STEPS, _LEARNING_RATE = 200, 0.01
_PROPORTION_ROUNDS = 2
_BATCH = 16


class HandFits(NamedTuple):
    """Hands of photographs.

    Attributes:
        positions: Joints (n, 21, 2) in pixels.
        depths: (n, 21) hand lengths along the optical axis, 0 at the median joint.
        log_length_px: (n,) log of the apparent hand length in pixels.
    """

    positions: np.ndarray
    depths: np.ndarray
    log_length_px: np.ndarray


class _Crop(NamedTuple):
    """A crop to predict from.

    Attributes:
        rgb: uint8 (3, P, P).
        to_crop: Homography (3, 3) from the photograph's pixels to the crop's.
        mirrored: True if ``rgb`` is mirrored.
    """

    rgb: np.ndarray
    to_crop: np.ndarray
    mirrored: bool


def predict(photographs: Sequence[Photograph], network: HandDepthNet) -> HandFits:
    """Return a network's predictions for every usable label, in order, averaged over three crops.

    Args:
        photographs: Labelled photographs.
        network: A depth network with joints, in eval mode.
    """
    rows = []
    device = next(network.parameters()).device
    crops = [crop for photograph in photographs for crop in _crops(photograph, network)]
    with torch.inference_mode():
        for start in track(range(0, len(crops), _BATCH), description="predicting photographs"):
            batch = crops[start : start + _BATCH]
            images = torch.from_numpy(np.stack([crop.rgb for crop in batch])).to(device)
            prediction = network((images.float() / 255).contiguous(memory_format=torch.channels_last))
            joints = prediction.joints[-1].double().cpu().numpy()
            sizes = prediction.scalars[:, 0].cpu().numpy()
            for crop, found, size in zip(batch, joints, sizes, strict=True):
                rows.append(_to_photograph(found, float(size), crop, network.config.crop_size))
    positions, depths, sizes = (
        np.array([row[i] for row in rows]).reshape(-1, len(_VIEWS), *shape).mean(1)
        for i, shape in enumerate(((21, 2), (21,), ()))
    )
    return HandFits(positions, _median_centred(depths), sizes)


def bone_lengths(hands: HandFits) -> np.ndarray:
    """Return the lengths (n, 24) of ``BONES``, hand lengths."""
    lengths: np.ndarray = _bones(*(torch.from_numpy(np.asarray(part, np.float64)) for part in hands)).numpy()
    return lengths


def fit(hands: HandFits, usual: np.ndarray) -> HandFits:
    """Return the most likely hands with bones of about the usual lengths.

    Args:
        hands: Predictions.
        usual: (24,) hand lengths.
    """
    start = [torch.from_numpy(np.asarray(part, np.float64)) for part in hands]
    pixels = start[2].exp()[:, None, None]
    known = torch.from_numpy(usual)
    start[0] = start[0] / pixels
    positions, depths, sizes = values = [part.clone().requires_grad_() for part in start]
    optimizer = torch.optim.Adam(values, lr=_LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, _STEPS)
    for _ in range(_STEPS):
        error = (_bones(positions * pixels, depths, sizes) / known - 1) / _BONE_STD
        cost = F.huber_loss(error, torch.zeros_like(error), reduction="sum", delta=_HUBER_DELTA)
        for value, first, std in zip(values, start, (_POSITION_STD, _DEPTH_STD, _LOG_SIZE_STD), strict=True):
            cost = cost + ((value - first) / std).square().sum() / 2
        optimizer.zero_grad()
        cost.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
    return HandFits(*((part.detach()).numpy() for part in (positions * pixels, depths, sizes)))


def proportions(hands: HandFits, log_length_px: np.ndarray) -> np.ndarray:
    """Return the usual bone lengths (24,): medians over hands that are fitted to them in turn.

    Args:
        hands: Predictions.
        log_length_px: (n,) another estimate of the apparent lengths, right in the median; it sets
            the unit.
    """
    usual = np.median(bone_lengths(hands._replace(log_length_px=log_length_px)), 0)
    for _ in range(_PROPORTION_ROUNDS):
        fitted = fit(hands, usual)
        unit = np.median(fitted.log_length_px - log_length_px)
        usual = np.median(bone_lengths(fitted._replace(log_length_px=fitted.log_length_px - unit)), 0)
    return usual


def relabel(photographs: Sequence[Photograph], network: HandDepthNet) -> list[Photograph]:
    """Return the photographs with refitted sizes, joints and reliefs; masks and weights stay."""
    usable = [label for photograph in photographs for label in photograph.usable]
    if not usable:
        return list(photographs)
    predicted = predict(photographs, network)
    labelled_sizes = np.array([label.log_length_px for label in usable])
    labelled_depths = _median_centred(np.array([label.joints[:, 2] for label in usable], np.float64))
    both = predicted._replace(depths=(predicted.depths + labelled_depths) / 2)
    fitted = fit(both, proportions(both, labelled_sizes))
    refitted = iter([_refit(label, *hand) for label, *hand in zip(usable, *fitted, strict=True)])
    return [
        photograph._replace(
            labels=tuple(next(refitted) if label.usable else label for label in photograph.labels)
        )
        for photograph in photographs
    ]


def _crops(photograph: Photograph, network: HandDepthNet) -> Iterator[_Crop]:
    """Yield the crops of the photograph's usable hands."""
    shape = CropShape.of(network.config)
    size = shape.crop_size
    usable = photograph.usable
    image = photograph.decode() if usable else None
    for label in usable:
        assert image is not None
        right, down = wrist_to_knuckles(label.joints)
        pixels = np.argwhere(label.mask == 1)[:, ::-1] + (label.x, label.y)
        for lean, mirrored in _VIEWS:
            roll = float(np.arctan2(right, -down)) - lean
            turned = pixels @ planar_rotation(roll).T
            low, high = turned.min(0), turned.max(0)
            centre = planar_rotation(roll).T @ ((low + high) / 2)
            zoom = size / (MARGIN * float((high - low).max()))
            to_crop = similarity(roll, centre, zoom, size)
            rgb = warp(image, shape.to_input(to_crop), shape.input_size, smooth=True)
            rgb = rgb[:, ::-1] if mirrored else rgb
            yield _Crop(np.ascontiguousarray(rgb.transpose(2, 0, 1)), to_crop, mirrored)


def _to_photograph(
    joints: np.ndarray, log_apparent_size: float, crop: _Crop, size: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions, depths and log apparent length of a crop's joints (21, 3)."""
    x = -joints[:, 0] if crop.mirrored else joints[:, 0]
    in_crop = np.column_stack((x, joints[:, 1])) * size / 2 + (size - 1) / 2
    positions = np.column_stack((in_crop, np.ones(21))) @ np.linalg.inv(crop.to_crop).T
    zoom = float(np.sqrt(np.linalg.det(crop.to_crop[:2, :2])))
    return positions[:, :2], joints[:, 2], log_apparent_size + float(np.log(size / zoom))


def _median_centred(depths: np.ndarray) -> np.ndarray:
    centred: np.ndarray = depths - np.median(depths, 1, keepdims=True)
    return centred


def _bones(positions: Tensor, depths: Tensor, log_length_px: Tensor) -> Tensor:
    middle = positions.mean(1, keepdim=True)
    across = (positions - middle) / log_length_px.exp()[:, None, None] * (1 + depths / _DISTANCE)[..., None]
    points = torch.cat((across, depths[..., None]), -1)
    return (points[:, BONES[:, 0]] - points[:, BONES[:, 1]]).norm(dim=-1)


def _refit(
    label: PseudoLabel, positions: np.ndarray, depths: np.ndarray, log_length_px: float
) -> PseudoLabel:
    """Return the refitted label, or the label itself if the fit is not its hand."""
    length_px = float(np.exp(log_length_px))
    joints = np.column_stack((positions - (label.x, label.y), depths * length_px)).astype(np.float32)
    surface = swept_surface(joints, length_px, label.mask.shape)
    relief = np.where(label.mask == 1, surface / length_px, np.nan).astype(np.float32)
    if np.isfinite(relief).sum() < np.isfinite(label.relief).sum() / 2:
        return label
    reference = np.float32(np.nanmedian(relief))
    return label._replace(
        relief=relief - reference,
        log_length_px=float(log_length_px),
        joints=np.column_stack((positions, depths - reference)).astype(np.float32),
    )
