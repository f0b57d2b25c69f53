"""Photographs' labels anew, from what a trained depth network sees in them: a second opinion beside the landmark model's, and a
skeleton that keeps its proportions.

The landmark model's apparent sizes scatter by 13 %, most where a hand is foreshortened, and its depths are as uncertain. But
all hands have nearly the same proportions: a bone that is too short in the picture is tilted, and if none of the bones has its
length the hand is farther away. So apparent size, places and depths of the joints are found for which every bone has its
usual length, as near as they allow to what the two networks say (maximum a posteriori; pose and scale from known bones:
Taylor, CVIU 80(3), 2000). The usual lengths are the photographs' own medians.
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
from hand_depth_ros.training.data.photographs import MIN_WEIGHT, RealImage
from hand_depth_ros.training.labels.pseudo_labels import PseudoLabel, swept_surface
from hand_depth_ros.training.samples.crops import Shape, finer, planar_rotation, similarity, warp

VERSION = 1
"""To be raised when labels change, so that caches are made anew."""

BONES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 4)]
    + [(a, b) for knuckle in (5, 9, 13, 17) for a, b in ((0, knuckle), *((knuckle + i, knuckle + i + 1) for i in range(3)))]
    + [(5, 9), (9, 13), (13, 17), (1, 5)]
)  # fmt: skip
"""(24, 2) joints whose distance is a property of the hand: its bones, and across the palm."""
_LOOKS = ((0.0, False), (0.2, False), (-0.2, True))
"""A hand is seen so often: turned from upright by so much, radians, and mirrored or not."""
_BONE, _DEPTH, _PLACE, _SIZE = 0.1, 0.03, 0.015, 0.1
"""Standard deviations: of a bone from its usual length, as a share; of a joint's depth and of its place from what was seen,
hand lengths; of the apparent size's logarithm."""
_WRONG = 1.5
"""From so many deviations on a bone pulls no harder (Huber)."""
_DISTANCE = 2.5
"""From the camera, hand lengths; that of a photograph isn't known, and makes a bone's end 4 % larger that is a tenth nearer."""
_STEPS, _RATE = 200, 0.01
_BATCH = 16


class Seen(NamedTuple):
    """Hands of photographs: ``places`` (n, 21, 2) pixels, ``depths`` (n, 21) hand lengths along the optical axis, 0 at the
    median joint, ``log_length_px`` (n,) log of the apparent hand length in pixels."""

    places: np.ndarray
    depths: np.ndarray
    log_length_px: np.ndarray


def see(images: Sequence[RealImage], network: HandDepthNet) -> Seen:
    """What ``network`` (with joints, eval mode) sees of every usable label of the images, in their order: looks' means."""
    rows = []
    device = next(network.parameters()).device
    looks = [look for image in images for look in _looks(image, network)]
    with torch.inference_mode():
        for start in track(range(0, len(looks), _BATCH), description="looking at photographs"):
            part = looks[start : start + _BATCH]
            pictures = torch.from_numpy(np.stack([picture for picture, _, _ in part])).to(device)
            prediction = network((pictures.float() / 255).contiguous(memory_format=torch.channels_last))
            joints, sizes = (
                prediction.joints[-1].double().cpu().numpy(),
                prediction.scalars[:, 0].cpu().numpy(),
            )
            for (_, to_crop, mirrored), found, size in zip(part, joints, sizes, strict=True):
                rows.append(_back(found, float(size), to_crop, mirrored, network.config.crop_size))
    places, depths, sizes = (
        np.array([row[i] for row in rows]).reshape(-1, len(_LOOKS), *shape).mean(1)
        for i, shape in enumerate(((21, 2), (21,), ()))
    )
    return Seen(places, _centred(depths), sizes)


def _looks(image: RealImage, network: HandDepthNet) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Pictures (3, P, P) uint8 of the usable hands, the (3, 3) from the photograph's pixels to the crop's, mirrored or not."""
    side, size = network.config.crop_size, network.config.input_size
    usable = image.usable
    picture = image.decode() if usable else None
    for label in usable:
        assert picture is not None
        right, down = wrist_to_knuckles(label.joints)
        points = np.argwhere(label.mask == 1)[:, ::-1] + (label.x, label.y)
        for lean, mirrored in _LOOKS:
            roll = float(-np.arctan2(right, -down)) + lean
            turned = points @ planar_rotation(roll).T
            low, high = turned.min(0), turned.max(0)
            centre = planar_rotation(roll).T @ ((low + high) / 2)
            zoom = side / (MARGIN * float((high - low).max()))
            to_crop = similarity(roll, centre, zoom, side)
            crop = warp(picture, finer(to_crop, Shape.of(network.config)), size, smooth=True)
            crop = crop[:, ::-1] if mirrored else crop
            yield np.ascontiguousarray(crop.transpose(2, 0, 1)), to_crop, mirrored


def _back(
    joints: np.ndarray, log_apparent_size: float, to_crop: np.ndarray, mirrored: bool, side: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Joints of a crop (21, 3) as places in the photograph and depths, and the log of the apparent length there."""
    x = -joints[:, 0] if mirrored else joints[:, 0]
    in_crop = np.column_stack((x, joints[:, 1])) * side / 2 + (side - 1) / 2
    places = np.column_stack((in_crop, np.ones(21))) @ np.linalg.inv(to_crop).T
    zoom = float(np.sqrt(np.linalg.det(to_crop[:2, :2])))
    return places[:, :2], joints[:, 2], log_apparent_size + float(np.log(side / zoom))


def _centred(depths: np.ndarray) -> np.ndarray:
    centred: np.ndarray = depths - np.median(depths, 1, keepdims=True)
    return centred


def bone_lengths(seen: Seen) -> np.ndarray:
    """(n, 24) lengths of ``BONES``, hand lengths."""
    lengths: np.ndarray = _bones(*(torch.from_numpy(np.asarray(part, np.float64)) for part in seen)).numpy()
    return lengths


def _bones(places: Tensor, depths: Tensor, log_length_px: Tensor) -> Tensor:
    middle = places.mean(1, keepdim=True)
    across = (places - middle) / log_length_px.exp()[:, None, None] * (1 + depths / _DISTANCE)[..., None]
    points = torch.cat((across, depths[..., None]), -1)
    return (points[:, BONES[:, 0]] - points[:, BONES[:, 1]]).norm(dim=-1)


def fit(seen: Seen, usual: np.ndarray) -> Seen:
    """The most likely hands with bones of about the lengths ``usual`` (24,), hand lengths, that look about as ``seen``."""
    start = [torch.from_numpy(np.asarray(part, np.float64)) for part in seen]
    pixels = start[2].exp()[:, None, None]
    known = torch.from_numpy(usual)
    start[0] = start[0] / pixels
    places, depths, sizes = values = [part.clone().requires_grad_() for part in start]
    optimiser = torch.optim.Adam(values, lr=_RATE)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, _STEPS)
    for _ in range(_STEPS):
        off = (_bones(places * pixels, depths, sizes) / known - 1) / _BONE
        cost = F.huber_loss(off, torch.zeros_like(off), reduction="sum", delta=_WRONG)
        for value, first, much in zip(values, start, (_PLACE, _DEPTH, _SIZE), strict=True):
            cost = cost + ((value - first) / much).square().sum() / 2
        optimiser.zero_grad()
        cost.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        slower.step()
    return Seen(*((part.detach()).numpy() for part in (places * pixels, depths, sizes)))


def proportions(seen: Seen, log_length_px: np.ndarray) -> np.ndarray:
    """The usual bones (24,): medians over the hands, which are fitted to them in turn. Hand lengths, whose unit is that of
    ``log_length_px`` (n,), another estimate of the apparent lengths: right in the median."""
    usual = np.median(bone_lengths(seen._replace(log_length_px=log_length_px)), 0)
    for _ in range(2):
        fitted = fit(seen, usual)
        unit = np.median(fitted.log_length_px - log_length_px)
        usual = np.median(bone_lengths(fitted._replace(log_length_px=fitted.log_length_px - unit)), 0)
    return usual


def relabel(images: Sequence[RealImage], network: HandDepthNet) -> list[RealImage]:
    """The images with new sizes, joints and reliefs of their usable labels; the masks and weights are as they were."""
    usable = [label for image in images for label in image.usable]
    if not usable:
        return list(images)
    seen = see(images, network)
    told = np.array([label.log_length_px for label in usable])
    depths = _centred(np.array([label.joints[:, 2] for label in usable], np.float64))
    both = seen._replace(depths=(seen.depths + depths) / 2)
    fitted = fit(both, proportions(both, told))
    better = iter([_relabelled(label, *hand) for label, *hand in zip(usable, *fitted, strict=True)])
    return [
        image._replace(
            labels=tuple(next(better) if label.weight > MIN_WEIGHT else label for label in image.labels)
        )
        for image in images
    ]


def _relabelled(label: PseudoLabel, places: np.ndarray, depths: np.ndarray, size: float) -> PseudoLabel:
    length_px = float(np.exp(size))
    joints = np.column_stack((places - (label.x, label.y), depths * length_px)).astype(np.float32)
    surface = swept_surface(joints, length_px, label.mask.shape)
    relief = np.where(label.mask == 1, surface / length_px, np.nan).astype(np.float32)
    if np.isfinite(relief).sum() < np.isfinite(label.relief).sum() / 2:
        return label  # what the network sees there isn't the hand that the mask shows
    reference = np.float32(np.nanmedian(relief))
    return label._replace(
        relief=relief - reference,
        log_length_px=float(size),
        joints=np.column_stack((places, depths - reference)).astype(np.float32),
    )
