"""Training samples for the detector: whole frames with the boxes of the hands in them.

A sample: ``rgb`` uint8 (3, H, W), ``boxes`` float32 (8, 4) centre x, y, width, height in input pixels (NaN: no box).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch.utils.data import Dataset

from hand_depth_ros.training.data.photographs import RealImage
from hand_depth_ros.training.data.rendered import RenderedView
from hand_depth_ros.training.samples import augment
from hand_depth_ros.training.samples.crops import Sources

Rng = np.random.Generator
MAX_BOXES = 8
_CUT_WELL, _CUT_OUT = 0.8, 0.35  # of photographs whose masks are this good so many show the hands alone


def _affine(k: float, angle: float, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """2x3: scale ``k`` and rotate by ``angle``, taking the point ``source`` to ``target``."""
    turn = k * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack((turn, target - turn @ source))


def _shrunk(image: np.ndarray, m: np.ndarray, size: tuple[int, int], k: float) -> np.ndarray:
    """Warp with a blur before it that suits the shrink."""
    if k < 0.7:
        image = cv2.blur(image, (max(1, round(1 / k)),) * 2)
    return cv2.warpAffine(image, m, size, flags=cv2.INTER_LINEAR)


def _box(mask: np.ndarray) -> np.ndarray | None:
    ys, xs = np.nonzero(mask)
    if len(xs) < 12:
        return None
    x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return np.array([(x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5, x1 - x0, y1 - y0], np.float32)


def paste(
    frame: np.ndarray, boxes: list[np.ndarray], taken: np.ndarray, view: RenderedView, rng: Rng
) -> np.ndarray:
    """Lay a rendered crop's person over the frame, the hand 8 % to 90 % of its height; appends the hand's box."""
    h, w = frame.shape[:2]
    hand_mask = view.mask == view.hands[0].instance
    source = _box(hand_mask)
    if source is None:
        return frame
    extent = float(source[2:].max())
    k = float(np.exp(rng.uniform(np.log(0.09), np.log(0.85)))) * h / extent
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.4)
    target = np.array([rng.uniform(0.03, 0.97) * w, rng.uniform(0.03, 0.97) * h])
    if k * extent > 0.5 * h:
        target = np.array([w, h]) * rng.uniform(0.35, 0.65, 2)
    m = _affine(k, angle, source[:2].astype(float), target)
    placed = _shrunk(hand_mask.astype(np.float32), m, (w, h), k) > 0.4
    if (placed & taken).sum() > 0.15 * placed.sum():
        return frame
    rgba = view.rgba.astype(np.float32)
    rgba[..., :3] = augment.tone(view.rgba[..., :3], rng, 0.7) * (rgba[..., 3:] / 255)
    rgba = _shrunk(rgba, m, (w, h), k)
    box = _box(placed)
    if box is None:
        return frame
    boxes.append(box)
    taken |= placed
    return (rgba[..., :3] + frame * (1 - rgba[..., 3:] / 255)).clip(0, 255).astype(np.uint8)


def photograph(
    image: RealImage, size: tuple[int, int], rng: Rng, fill: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A photograph, or now and then only the hands cut out of it, scaled and shifted into the frame over ``fill``, and the
    boxes of its hands."""
    w, h = size
    picture = image.decode()
    ph, pw = picture.shape[:2]
    small = max(ph, pw) < 150
    fit = min(w / pw, h / ph)
    k = fit * float(np.exp(rng.uniform(np.log(0.4 if small else 0.65), np.log(1.1 if small else 2.0))))
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < (0.4 if small else 0.2) else rng.normal(0, 0.15)
    anchor = np.array([pw, ph]) / 2
    if not small and len(image.landmarks) and k > fit:
        anchor = image.landmarks[int(rng.integers(len(image.landmarks)))].mean(0)
    m = _affine(k, angle, anchor, np.array([w, h]) / 2 + rng.normal(0, 0.12, 2) * (w, h))
    there = cv2.warpAffine(np.ones((ph, pw), np.float32), m, (w, h))[..., None]
    cut_out = np.zeros((h, w), np.float32)
    boxes = []
    for label in image.labels:
        whole = np.zeros((ph, pw), np.uint8)
        whole[label.y : label.y + label.mask.shape[0], label.x : label.x + label.mask.shape[1]] = label.mask
        box = _box(_shrunk((whole == 1).astype(np.float32), m, (w, h), k) > 0.4)
        if box is not None:
            boxes.append(box)
        cut_out = np.maximum(cut_out, _shrunk((whole != 0).astype(np.float32), m, (w, h), k))
    if rng.random() < _CUT_OUT and all(label.weight > _CUT_WELL for label in image.labels):
        there = there * cut_out[..., None]
    frame = _shrunk(augment.tone(picture, rng), m, (w, h), k) * there + fill * (1 - there)
    return frame.clip(0, 255).astype(np.uint8), boxes


class FrameDataset(Dataset[dict[str, Any]]):
    """``length`` frames an epoch, each a function of (seed, epoch, index)."""

    def __init__(self, sources: Sources, size: tuple[int, int], length: int, seed: int) -> None:
        self.sources, self.size, self.length, self.seed = sources, size, length, seed
        self.epoch = 0
        self._real = [i for i in sources.real if i.labels and len(i.labels) == len(i.landmarks)]
        self._crops = [v for v in sources.views if len(v.hands) == 1 and v.size[0] == v.size[1]]
        self._scenes = [v for v in sources.views if v.size[0] != v.size[1]]

    def __len__(self) -> int:
        return self.length

    def _scene(self, view: RenderedView, fill: np.ndarray, rng: Rng) -> tuple[np.ndarray, list[np.ndarray]]:
        w, h = self.size
        vh, vw = view.mask.shape
        k = min(w / vw, h / vh) * float(np.exp(rng.uniform(np.log(0.7), np.log(1.6))))
        anchor = np.array([vw, vh]) / 2
        if len(view.hands) and (where := _box(view.mask == view.hands[0].instance)) is not None:
            anchor = anchor + (where[:2] - anchor) * rng.uniform(0, 1)
        m = _affine(k, rng.normal(0, 0.1), anchor, np.array([w, h]) / 2 + rng.normal(0, 0.08, 2) * (w, h))
        rgba = view.rgba.astype(np.float32)
        rgba[..., :3] = augment.tone(view.rgba[..., :3], rng, 0.7) * (rgba[..., 3:] / 255)
        rgba = _shrunk(rgba, m, (w, h), k)
        found = (
            _box(_shrunk((view.mask == x.instance).astype(np.float32), m, (w, h), k) > 0.4)
            for x in view.hands
        )
        frame = rgba[..., :3] + fill * (1 - rgba[..., 3:] / 255)
        return frame.clip(0, 255).astype(np.uint8), [box for box in found if box is not None]

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        w, h = self.size
        boxes: list[np.ndarray] = []
        fill = augment.tone(augment.background_crop(self.sources.backgrounds, (h, w), rng), rng)
        frame, dice = fill, rng.random()
        if dice < self.sources.negative_share:
            pass
        elif self._real and dice < self.sources.negative_share + self.sources.real_share:
            frame, boxes = photograph(self._real[int(rng.integers(len(self._real)))], self.size, rng, fill)
        elif self._scenes and rng.random() < 0.5:
            view = self._scenes[int(rng.integers(len(self._scenes)))]
            frame, boxes = self._scene(view.decode(), fill, rng)
        elif self._crops:
            taken = np.zeros((h, w), bool)
            for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
                view = self._crops[int(rng.integers(len(self._crops)))]
                frame = paste(frame, boxes, taken, view.decode(), rng)
        frame = _letterbox(_camera(frame, rng), boxes, rng)
        if rng.random() < 0.5:
            frame = frame[:, ::-1]
            boxes = [np.array([w - 1 - b[0], *b[1:]], np.float32) for b in boxes]
        padded = np.full((MAX_BOXES, 4), np.nan, np.float32)
        if boxes:
            padded[: len(boxes)] = np.stack(boxes[:MAX_BOXES])
        return {"rgb": np.ascontiguousarray(frame.transpose(2, 0, 1)), "boxes": padded}


def _camera(frame: np.ndarray, rng: Rng) -> np.ndarray:
    """Camera effects on a frame that isn't square."""
    h, w = frame.shape[:2]
    side = max(h, w)
    square = cv2.copyMakeBorder(frame, 0, side - h, 0, side - w, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(augment.camera(square, rng)[:h, :w])


def _letterbox(frame: np.ndarray, boxes: list[np.ndarray], rng: Rng) -> np.ndarray:
    """Black bars such as another aspect ratio leaves (the live detector letter-boxes); boxes are cut to what is left."""
    h, w = frame.shape[:2]
    if rng.random() < 0.5:
        return frame
    frame = frame.copy()
    left = right = top = bottom = 0
    if rng.random() < 0.6:
        top = bottom = int(rng.integers(0, h // 5))
    else:
        left = right = int(rng.integers(0, w // 4))
    frame[:top], frame[h - bottom :], frame[:, :left], frame[:, w - right :] = 0, 0, 0, 0
    kept = []
    for x, y, bw, bh in boxes:
        x0, x1 = max(x - bw / 2, left), min(x + bw / 2, w - right)
        y0, y1 = max(y - bh / 2, top), min(y + bh / 2, h - bottom)
        if x1 - x0 > 0.35 * bw and y1 - y0 > 0.35 * bh:
            kept.append(np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], np.float32))
    boxes[:] = kept
    return frame
