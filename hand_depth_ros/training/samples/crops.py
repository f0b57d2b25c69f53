"""Training samples for the depth network: virtual-camera crops of rendered and of real hands, and of nothing.

Every sample is a dict of numpy arrays: ``rgb`` uint8 (3, P, P), P being NetworkConfig.input_size, ``mask`` uint8 (S, S)
(1 hand, 0 not, 255 unknown), ``relief`` float32 (S, S) hand lengths (NaN unknown), ``scalars`` float32 (3,): log(s / S),
log(L / 0.19 m), presence (NaN unknown), ``joints`` float32 (21, 3): x, y in the crop, -1 and 1 at its edges, z as the relief
(NaN unknown), ``weight`` float32: how much its labels count, ``real`` float32: 1 for photographs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.estimation.detector import HandDetector
from hand_depth_ros.geometry.crop_camera import MARGIN
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M, MIN_PALM_FRACTION, hand_length, wrist_to_knuckles
from hand_depth_ros.geometry.masks import visible_fraction
from hand_depth_ros.network import HandDetectorNet, NetworkConfig, load_weights
from hand_depth_ros.training.data.photographs import RealImage
from hand_depth_ros.training.data.rendered import RenderedHand, RenderedView, View
from hand_depth_ros.training.samples import augment

Rng = np.random.Generator
UNKNOWN = 255
_PIXELS_LOOKED_AT = 300
_TRIES = 1000
_ANY_ROLL, _ABOUT_UPRIGHT = (
    0.3,
    0.2,
)  # so many hands are turned anyhow, as at a first look; the others stand, give or take
_MISTAKES = 0.4  # of the crops without a hand
_SHRINKS = 0.7  # a picture that gets this much smaller is averaged
_NO_JOINTS = np.full((21, 3), np.nan, np.float32)
_CUT_WELL, _ELSEWHERE = 0.8, 0.4  # photographs whose mask is this good get another background this often


class Shape(NamedTuple):
    """Of a sample: side of its labels and of its picture, which show the same, pixels."""

    side: int
    picture: int

    @classmethod
    def of(cls, config: NetworkConfig) -> Shape:
        """What the network with this config takes and gives."""
        return cls(config.crop_size, config.input_size)


@dataclasses.dataclass(frozen=True)
class Sources:
    """Everything that samples are drawn from, and with which probability (real, negative; the rest rendered).

    mistakes: (number of the background, x, y, width, height) of what a detector takes for a hand in the backgrounds.
    edge_share, least_seen, stretch: as in TrainConfig.
    """

    views: Sequence[View]
    real: list[RealImage]
    backgrounds: list[np.ndarray]
    real_share: float = 0.4
    negative_share: float = 0.1
    mistakes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 5)))
    edge_share: float = 0.0
    least_seen: float = 0.0
    stretch: float = 0.0


def load_backgrounds(folder: Path | None) -> list[np.ndarray]:
    """All pictures of a folder, uint8 RGB, at most 400 pixels high."""
    pictures = []
    for path in sorted(folder.iterdir()) if folder else ():
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is not None:
            factor = min(1.0, 400 / image.shape[0])
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            pictures.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if folder and not pictures:
        raise DatasetError(f"backgrounds: there are no pictures in {folder}")
    return pictures


def find_mistakes(backgrounds: list[np.ndarray], detector: Path, threshold: float = 0.1) -> np.ndarray:
    """What the detector of that weights file takes for a hand where there is none: rows of ``Sources.mistakes``."""
    network = HandDetector(load_weights(detector, HandDetectorNet)[0], torch.device("cpu"))
    rows = [
        (number, *box)
        for number, picture in enumerate(backgrounds)
        for box, _ in network.detect(picture, threshold)
    ]
    return np.array(rows, float).reshape(-1, 5)


def _look_at(ray: np.ndarray, roll: float) -> np.ndarray:
    """Smallest rotation that takes ``ray`` to +z, then a roll about z."""
    d = ray / np.linalg.norm(ray)
    axis = np.array([d[1], -d[0], 0.0])
    sine = float(np.linalg.norm(axis))
    r, _ = cv2.Rodrigues(axis / sine * np.arctan2(sine, d[2])) if sine > 1e-9 else (np.eye(3), None)
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ r


def planar_rotation(roll: float) -> np.ndarray:
    """(2, 2), by ``roll`` radians."""
    return np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])


def _roll(joints: np.ndarray, rng: Rng) -> float:
    """For :func:`planar_rotation`, of a crop of a hand whose joints (21, 2 or 3) are these in a crop without a roll."""
    if rng.random() < _ANY_ROLL:
        return float(rng.uniform(-np.pi, np.pi))
    x, y = wrist_to_knuckles(joints)
    extent = float(np.ptp(joints[:, :2], axis=0).max())
    if not np.hypot(x, y) > MIN_PALM_FRACTION * extent:
        return float(rng.normal(0, 0.35))
    return float(-np.arctan2(x, -y) + rng.normal(0, _ABOUT_UPRIGHT))


def similarity(roll: float, centre: np.ndarray, zoom: float, side: int) -> np.ndarray:
    """(3, 3): a picture's pixels to those of a crop with ``centre`` in its middle, turned by ``roll``, zoomed."""
    h = np.eye(3)
    h[:2, :2] = zoom * planar_rotation(roll)
    h[:2, 2] = (side - 1) / 2 - h[:2, :2] @ centre
    return h


def warp(
    image: np.ndarray, h: np.ndarray, side: int, smooth: bool, border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    """The crop that ``h`` (3, 3) maps the image to. ``smooth``: interpolated, and averaged where it shrinks."""
    if not smooth:
        return cv2.warpPerspective(image, h, (side, side), flags=cv2.INTER_NEAREST, borderMode=border)
    if np.linalg.det(h[:2, :2] / h[2, 2]) > _SHRINKS**2:
        return cv2.warpPerspective(image, h, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    twice = np.array([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]]) @ h
    big = cv2.warpPerspective(image, twice, (2 * side, 2 * side), flags=cv2.INTER_LINEAR, borderMode=border)
    return cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA)


def finer(h: np.ndarray, shape: Shape) -> np.ndarray:
    """(3, 3) to the picture's pixels, from one to those of the crop."""
    k = shape.picture / shape.side
    return np.array([[k, 0, (k - 1) / 2], [0, k, (k - 1) / 2], [0, 0, 1]]) @ h


def _placed(joints: np.ndarray, h: np.ndarray, side: int) -> np.ndarray:
    """``joints`` (n, 3) whose x, y are pixels that ``h`` (3, 3) maps to those of a crop, with x, y in -1..1 of the crop."""
    x, y, w = h @ np.vstack((joints[:, :2].T, np.ones(len(joints))))
    c = (side - 1) / 2
    return np.column_stack(((x / w - c) * 2 / side, (y / w - c) * 2 / side, joints[:, 2]))


def _along_rays(joints: np.ndarray, to_ray: np.ndarray) -> np.ndarray:
    """Points (n, 3), metres, in a turned camera's axes, of ``joints`` (n, 3): x, y in pixels, which ``to_ray`` (3, 3) maps to
    rays of that camera, z along the optical axis before the turn."""
    before = np.column_stack((joints[:, :2], np.ones(len(joints))))
    return (before @ to_ray.T) * joints[:, 2:]  # rays whose z was 1 before the turn


def _stretch(much: float, rng: Rng) -> np.ndarray:
    """(3, 3): points of a camera's axes made longer in one direction across the optical axis and shorter in the other. What the
    camera then sees is its picture stretched just so: a hand of other proportions, at the same depths."""
    turn, k = planar_rotation(rng.uniform(0, np.pi)), float(np.exp(rng.normal(0, much)))
    stretch = np.eye(3)
    stretch[:2, :2] = turn @ np.diag((k, 1 / k)) @ turn.T
    return stretch


def _pick(mask: np.ndarray, rng: Rng) -> np.ndarray | None:
    ys, xs = np.nonzero(mask)
    if len(xs) < 50:
        return None
    chosen = rng.integers(0, len(xs), _PIXELS_LOOKED_AT)
    return np.column_stack((xs[chosen], ys[chosen])).astype(np.float64)


def _jitter(low: np.ndarray, high: np.ndarray, rng: Rng) -> tuple[np.ndarray, float]:
    """Centre and extent of the crop: what a detector's box, or the last frame's mask, would give."""
    extent = float((high - low).max())
    centre = (low + high) / 2 + rng.normal(0, 0.06, 2) * extent
    return centre, extent * MARGIN * float(np.exp(rng.normal(0.02, 0.13)))


def _in_frame(view: RenderedView, hand_mask: np.ndarray, edge_share: float, rng: Rng) -> np.ndarray | None:
    """What the camera's frame holds of a view, uint8 (h, w), 1: all of it, or what is on one side of an edge that cuts the
    hand. None for a crop that isn't cut: what lies around it is in the frame as well."""
    cut = edge_share > 0 and rng.random() < edge_share
    if not cut and (edge_share == 0 or view.size[0] == view.size[1]):
        return None
    inside = np.ones(view.size, np.uint8)
    if cut:
        axis = int(rng.integers(2))
        lines = np.flatnonzero(hand_mask.any(1 - axis))
        low, high = (lines[0], lines[-1]) if len(lines) else (0, view.size[axis])
        edge = int(low + (high - low) * rng.uniform(0.1, 0.65))
        across = inside if axis == 0 else inside.T
        if rng.random() < 0.5:
            across[:edge] = 0
        else:
            across[low + high - edge :] = 0
    return inside


def rendered_sample(
    view: RenderedView, hand: RenderedHand, sources: Sources, shape: Shape, rng: Rng
) -> dict[str, Any] | None:
    """A virtual-camera crop of one rendered hand over a new background; None when too little of the hand is in view."""
    side = shape.side
    fx, fy, cx, cy = view.k
    hand_mask = (view.mask == hand.instance).astype(np.uint8)
    if (
        np.isfinite(hand.joints).all()
        and visible_fraction(hand_mask, hand.joints[:, :2]) < sources.least_seen
    ):
        return None
    inside = _in_frame(view, hand_mask, sources.edge_share, rng)
    if inside is not None:
        hand_mask &= inside
    points = _pick(hand_mask, rng)
    if points is None:
        return None
    rays = np.column_stack(((points[:, 0] - cx) / fx, (points[:, 1] - cy) / fy, np.ones(len(points))))
    level = _look_at(rays.mean(0), 0.0)
    there = (
        np.column_stack(((hand.joints[:, 0] - cx) / fx, (hand.joints[:, 1] - cy) / fy, np.ones(21))) @ level.T
    )
    roll = _roll(there[:, :2] / there[:, 2:], rng)
    r = _look_at(rays.mean(0), roll)
    turned = rays @ r.T
    turned = turned[:, :2] / turned[:, 2:]
    centre, extent = _jitter(turned.min(0), turned.max(0), rng)
    r = _look_at(np.append(centre, 1.0), 0.0) @ r
    f = side / extent
    c = (side - 1) / 2
    k_v = np.array([[f, 0, c], [0, f, c], [0, 0, 1]])
    to_ray = r @ np.linalg.inv(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
    in_crop = _along_rays(hand.joints, to_ray)
    stretch, length_m = np.eye(3), hand.length_m
    if sources.stretch > 0 and np.isfinite(in_crop).all():
        stretch = _stretch(sources.stretch, rng)
        length_m *= hand_length(in_crop @ stretch.T) / hand_length(in_crop)
    h = k_v @ stretch @ to_ray
    mask = warp(hand_mask, h, side, smooth=False)
    depth = warp(view.depth_m, h, side, smooth=False)
    seen = (mask == 1) & (depth > 0)
    if np.count_nonzero(seen) < 60:
        return None
    steps = (np.arange(side, dtype=np.float32) - np.float32(c)) / np.float32(f)
    right, down, ahead = (np.linalg.inv(stretch).T @ r)[:, 2].astype(np.float32)
    before = np.maximum(
        right * steps + (down * steps + ahead)[:, None], np.float32(1e-3)
    )  # a ray whose z is 1
    depth_v = depth / before
    z_ref = float(np.median(depth_v[seen]))
    relief = np.where(seen, (depth_v - np.float32(z_ref)) / np.float32(length_m), np.float32(np.nan))
    joints = _placed(hand.joints, h, side)
    joints[:, 2] = (in_crop[:, 2] - z_ref) / length_m
    size = shape.picture
    colour, alpha = augment.tone(view.rgba[..., :3], rng, 0.7), view.rgba[..., 3]
    premultiplied = cv2.merge(
        [*cv2.split(cv2.multiply(colour, cv2.merge([alpha] * 3), scale=1 / 255)), alpha]
    )
    rgba = warp(premultiplied, finer(h, shape), size, smooth=True)
    background = augment.tone(augment.background_crop(sources.backgrounds, (size, size), rng), rng)
    if rng.random() < 0.3:
        background = cv2.GaussianBlur(background, (0, 0), float(rng.uniform(0.5, 4)))
    rgb = cv2.add(
        cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB),
        cv2.multiply(background, cv2.merge([255 - rgba[..., 3]] * 3), scale=1 / 255),
    )
    if inside is not None:  # beyond the frame's edge a crop is black
        rgb *= warp(inside, finer(h, shape), size, smooth=False)[..., None]
    log_apparent_size = np.log(f * length_m / z_ref / side)
    scalars = np.array([log_apparent_size, np.log(length_m / MEAN_HAND_LENGTH_M), 1.0], np.float32)
    return _finish(rgb, mask, relief, joints, scalars, 1.0, 0.0, sources, shape, rng)


def real_sample(image: RealImage, sources: Sources, shape: Shape, rng: Rng) -> dict[str, Any] | None:
    """A crop of one hand of a photograph with its pseudo labels; None when it has no usable hand."""
    side, size = shape.side, shape.picture
    labels = image.usable
    if not labels:
        return None
    label = labels[int(rng.integers(len(labels)))]
    points = _pick(label.mask == 1, rng)
    if points is None:
        return None
    picture = image.decode()
    roll = _roll(label.joints, rng)
    turn = planar_rotation(roll)
    turned = (points + np.array((label.x, label.y))) @ turn.T
    centre, extent = _jitter(turned.min(0), turned.max(0), rng)
    k = side / extent
    h = similarity(roll, turn.T @ centre, k, side)
    window = h @ np.array([[1, 0, label.x], [0, 1, label.y], [0, 0, 1.0]])
    border = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)[
        int(rng.choice(3, p=(0.5, 0.35, 0.15)))
    ]
    rgb = warp(picture, finer(h, shape), size, smooth=True, border=border)
    known = warp(np.ones_like(label.mask), window, side, smooth=False)
    mask = warp(label.mask, window, side, smooth=False)
    elsewhere = 0 if len(image.labels) <= 1 else UNKNOWN
    mask = np.where(known == 1, mask, elsewhere).astype(np.uint8)
    if border != cv2.BORDER_CONSTANT:
        outside = warp(np.ones(picture.shape[:2], np.uint8), h, side, smooth=False) == 0
        mask[outside] = UNKNOWN
    if label.weight > _CUT_WELL and rng.random() < _ELSEWHERE:
        there = (label.mask != 0).astype(np.float32)
        keep = warp(there, finer(window, shape), size, smooth=True)[..., None]
        background = augment.tone(augment.background_crop(sources.backgrounds, (size, size), rng), rng)
        rgb = (augment.tone(rgb, rng) * keep + background * (1 - keep)).astype(np.uint8)
        mask = np.where(cv2.resize(keep[..., 0], (side, side)) < 0.5, 0, mask).astype(np.uint8)
    else:
        rgb = augment.tone(rgb, rng, 0.8)
    relief = warp(label.relief, window, side, smooth=False)
    relief = np.where((known == 1) & (mask == 1), relief, np.nan).astype(np.float32)
    if np.isfinite(relief).sum() < 60:
        return None
    reference = np.float32(np.nanmedian(relief))
    relief -= reference
    joints = _placed(label.joints, h, side)
    joints[:, 2] = label.joints[:, 2] - reference
    scalars = np.array([label.log_length_px + np.log(k / side), np.nan, 1.0], np.float32)
    return _finish(rgb, mask, relief, joints, scalars, label.weight, 1.0, sources, shape, rng)


def negative_sample(sources: Sources, shape: Shape, rng: Rng) -> dict[str, Any]:
    """A crop without a hand: a background, what a detector took for a hand there, or a part of a photograph (face, arm,
    shirt) away from every known hand."""
    side, size = shape.side, shape.picture
    rgb = augment.background_crop(sources.backgrounds, (size, size), rng)
    dice = rng.random()
    if len(sources.mistakes) and dice < _MISTAKES:
        number, *box = sources.mistakes[int(rng.integers(len(sources.mistakes)))]
        low, reach = np.array(box[:2]), np.array(box[2:])
        centre, extent = _jitter(low, low + reach, rng)
        h = similarity(rng.normal(0, 0.35), centre, side / extent, side)
        rgb = warp(sources.backgrounds[int(number)], finer(h, shape), size, smooth=True)
    elif sources.real and dice < 0.75:
        image = sources.real[int(rng.integers(len(sources.real)))]
        picture = image.decode()
        part = int(rng.uniform(0.2, 0.7) * min(picture.shape[:2]))
        x, y = (
            int(rng.integers(0, picture.shape[1] - part + 1)),
            int(rng.integers(0, picture.shape[0] - part + 1)),
        )
        points = image.landmarks.reshape(-1, 2)
        low, high = np.array([x, y]) - 0.15 * part, np.array([x, y]) + 1.15 * part
        if len(points) and not ((points > low) & (points < high)).all(1).any():
            rgb = cv2.resize(picture[y : y + part, x : x + part], (size, size), interpolation=cv2.INTER_AREA)
    scalars = np.array([np.nan, np.nan, 0.0], np.float32)
    nothing = np.zeros((side, side), np.uint8)
    relief = np.full((side, side), np.nan, np.float32)
    return _finish(
        augment.tone(rgb, rng), nothing, relief, _NO_JOINTS.copy(), scalars, 1.0, 0.0, sources, shape, rng
    )


def _finish(
    rgb: np.ndarray,
    mask: np.ndarray,
    relief: np.ndarray,
    joints: np.ndarray,
    scalars: np.ndarray,
    weight: float,
    real: float,
    sources: Sources,
    shape: Shape,
    rng: Rng,
) -> dict[str, Any]:
    mask = mask.copy()
    if rng.random() < 0.12:
        rgb, area = augment.occlude(rgb, sources.backgrounds, rng)
        mask[cv2.resize(area, mask.shape, interpolation=cv2.INTER_NEAREST) > 0] = 0
        relief = np.where(mask == 1, relief, np.nan).astype(np.float32)
    rgb = augment.camera(rgb, rng)
    if rng.random() < 0.5:
        rgb, mask, relief = rgb[:, ::-1], mask[:, ::-1], relief[:, ::-1]
        joints[:, 0] *= -1
    return {
        "rgb": np.ascontiguousarray(rgb.transpose(2, 0, 1)),
        "mask": np.ascontiguousarray(mask),
        "relief": np.ascontiguousarray(relief),
        "joints": joints.astype(np.float32),
        "scalars": scalars,
        "weight": np.float32(weight),
        "real": np.float32(real),
    }


class CropDataset(Dataset[dict[str, Any]]):
    """``length`` samples an epoch; sample i of epoch e depends on (seed, e, i) only, so a resumed run repeats nothing else."""

    def __init__(self, sources: Sources, shape: Shape, length: int, seed: int) -> None:
        self.sources, self.shape, self.length, self.seed = sources, shape, length, seed
        self.epoch = 0
        self._hands = [(view, hand) for view in sources.views for hand in view.hands]
        self._real = [image for image in sources.real if image.usable]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        for _ in range(_TRIES):
            dice, sample = rng.random(), None
            if dice < self.sources.negative_share:
                sample = negative_sample(self.sources, self.shape, rng)
            elif self._real and dice < self.sources.negative_share + self.sources.real_share:
                sample = real_sample(
                    self._real[int(rng.integers(len(self._real)))], self.sources, self.shape, rng
                )
            elif self._hands:
                view, hand = self._hands[int(rng.integers(len(self._hands)))]
                sample = rendered_sample(view.decode(), hand, self.sources, self.shape, rng)
            if sample is not None:
                return sample
        raise DatasetError(
            f"no usable sample in {_TRIES} tries: are the views or the photographs' labels too poor?"
        )
