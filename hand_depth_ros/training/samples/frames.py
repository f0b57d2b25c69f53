"""Samples for the detector: whole frames with a box around all visible parts of every hand."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch.utils.data import Dataset

from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.data.rendered import RenderedView
from hand_depth_ros.training.samples import augment
from hand_depth_ros.training.samples.exposure import expose, motion_blur
from hand_depth_ros.training.samples.frame_scene import (
    Scene,
    centre_box,
    similarity_2x3,
    speck_box,
    warp_down,
    warp_mask,
)
from hand_depth_ros.training.samples.occluders import occluder_mask, occluder_texture
from hand_depth_ros.training.samples.training_data import TrainingData

Rng = np.random.Generator
MAX_BOXES = 8
_GOOD_MASK_WEIGHT = 0.8
"""Hands of photographs with labels of at least this weight may be cut out."""
_CUT_OUT_PROB = 0.25
_SMALL_SIDE_PX = 150
"""Photographs with sides below this show one hand and little else."""
_SMALL_FILE_BYTES, _SMALL_FILE_WEIGHT = 8000, 0.35
"""Photographs of so few bytes are drawn less often than the others, by this factor."""
_PASTED_COUNTS, _PASTED_PROBS = (1, 2, 3), (0.55, 0.33, 0.12)
_MIN_VISIBLE_FRACTION, _MIN_BOX_SIDE_PX, _MIN_CONTRAST = 0.15, 6, 5.0
"""Below one of these (the last in grey levels) nothing is asked of the detector in a hand's box."""


class FrameDataset(Dataset[dict[str, Any]]):
    """Frames, ``length`` per epoch, each a function of (seed, epoch, index).

    A sample is a dict: ``rgb`` uint8 (3, H, W); ``boxes`` float32 (8, 4), centre x, y, width and
    height in pixels of all visible parts of one hand, NaN rows after the last; ``ignored`` (8, 4),
    boxes of hands too little visible to be asked for or to be called background.
    """

    def __init__(self, data: TrainingData, size: tuple[int, int], length: int, seed: int) -> None:
        self.data, self.size, self.length, self.seed = data, size, length, seed
        self.epoch = 0
        self._photographs = [p for p in data.photographs if p.labels and len(p.labels) == len(p.landmarks)]
        small = np.array([len(p.encoded) < _SMALL_FILE_BYTES for p in self._photographs])
        self._cumulative_weights = np.cumsum(np.where(small, _SMALL_FILE_WEIGHT, 1.0))
        self._crops = [v for v in data.views if len(v.hands) == 1 and v.size[0] == v.size[1]]
        self._frames = [v for v in data.views if v.size[0] != v.size[1]]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng, data = np.random.default_rng((self.seed, self.epoch, index)), self.data
        scene = self._compose(rng)
        whole_px = [int(hand.sum()) for hand in scene.hands]
        if rng.random() < data.occlusion_prob:
            occlude_hands(scene, data.backgrounds, rng)
        if rng.random() < data.exposure_prob:
            scene.image = expose(scene.image, rng)
        if rng.random() < data.motion_blur_prob:
            scene.image = motion_blur(scene.image, rng.uniform(3, 16), rng.uniform(0, np.pi))
        scene.image = _degrade(scene.image, rng)
        _letterbox(scene, rng)
        if rng.random() < 0.5:
            scene.mirror()
        boxes, ignored = label_boxes(scene, whole_px)
        return {
            "rgb": np.ascontiguousarray(scene.image.transpose(2, 0, 1)),
            "boxes": boxes,
            "ignored": ignored,
        }

    def _compose(self, rng: Rng) -> Scene:
        """Draw a background, a photograph, a rendered frame, or hands pasted over a background."""
        (w, h), data = self.size, self.data
        background = augment.tone(augment.background_crop(data.backgrounds, (h, w), rng), rng)
        dice = rng.random()
        if dice < data.negative_fraction:
            return Scene(background, [])
        if self._photographs and dice < data.negative_fraction + data.real_fraction:
            return photograph_scene(self._draw_photograph(rng), background, rng)
        sources = [s for s in (self._photographs, self._frames, self._crops) if s]
        source = sources[int(rng.integers(len(sources)))] if sources else []
        if source is self._frames and source:
            view = self._frames[int(rng.integers(len(self._frames)))]
            return rendered_scene(view.decode(), background, rng)
        scene = Scene(background, [])
        for _ in range(int(rng.choice(_PASTED_COUNTS, p=_PASTED_PROBS)) if source else 0):
            if source is self._crops:
                paste_view(scene, self._crops[int(rng.integers(len(self._crops)))].decode(), rng)
            else:
                paste_photograph(scene, self._draw_photograph(rng), data.backgrounds, rng)
        return scene

    def _draw_photograph(self, rng: Rng) -> Photograph:
        total = self._cumulative_weights[-1]
        index = int(np.searchsorted(self._cumulative_weights, rng.random() * total, side="right"))
        return self._photographs[min(index, len(self._photographs) - 1)]


def photograph_scene(photograph: Photograph, background: np.ndarray, rng: Rng) -> Scene:
    """Scale, turn and shift a photograph into the frame.

    Now and then only its hands are kept, cut out and laid over the background.
    """
    h, w = background.shape[:2]
    image = photograph.decode()
    image_h, image_w = image.shape[:2]
    small = max(image_h, image_w) < _SMALL_SIDE_PX
    fit = min(w / image_w, h / image_h)
    low, high = (0.35, 1.1) if small else (0.3, 2.2)
    k = fit * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    anchor = np.array([image_w, image_h]) / 2
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < (0.4 if small else 0.25) else rng.normal(0, 0.15)
    if not small and len(photograph.landmarks) and k > fit:
        anchor = photograph.landmarks[int(rng.integers(len(photograph.landmarks)))].mean(0)
    target = np.array([w, h]) / 2 + rng.normal(0, 0.15, 2) * (w, h)
    m = similarity_2x3(k, angle, anchor, target)
    if not small:
        m = np.diag(np.exp(rng.normal(0, 0.05, 2))) @ m  # the aspect of some is a guess
    keep = cv2.warpAffine(np.ones((image_h, image_w), np.float32), m, (w, h))[..., None]
    cut_out = np.zeros((h, w), np.float32)
    hands = []
    for label in photograph.labels:
        whole = np.zeros((image_h, image_w), np.uint8)
        rows, columns = label.mask.shape
        whole[label.y : label.y + rows, label.x : label.x + columns] = label.mask
        hands.append(warp_mask(whole == 1, m, (w, h)))
        cut_out = np.maximum(cut_out, warp_down((whole != 0).astype(np.float32), m, (w, h)))
    well_cut = all(label.weight > _GOOD_MASK_WEIGHT for label in photograph.labels)
    if well_cut and rng.random() < _CUT_OUT_PROB:
        keep = keep * cut_out[..., None]
    frame = warp_down(augment.tone(image, rng), m, (w, h)) * keep + background * (1 - keep)
    return Scene(frame.clip(0, 255).astype(np.uint8), hands)


def rendered_scene(view: RenderedView, background: np.ndarray, rng: Rng) -> Scene:
    """Scale and shift a rendered frame into the frame."""
    h, w = background.shape[:2]
    view_h, view_w = view.size
    k = min(w / view_w, h / view_h) * float(np.exp(rng.uniform(np.log(0.7), np.log(1.6))))
    anchor = np.array([view_w, view_h]) / 2
    if len(view.hands) and (box := centre_box(view.mask == view.hands[0].instance)) is not None:
        anchor = anchor + (box[:2] - anchor) * rng.uniform(0, 1)
    target = np.array([w, h]) / 2 + rng.normal(0, 0.08, 2) * (w, h)
    m = similarity_2x3(k, rng.normal(0, 0.1), anchor, target)
    rgba = warp_down(_premultiplied(view, rng), m, (w, h))
    hands = [warp_mask(view.mask == hand.instance, m, (w, h)) for hand in view.hands]
    frame = rgba[..., :3] + background * (1 - rgba[..., 3:] / 255)
    return Scene(frame.clip(0, 255).astype(np.uint8), hands)


def paste_view(scene: Scene, view: RenderedView, rng: Rng) -> None:
    """Lay the person of a rendered crop over the frame, the hand 7 % to 95 % of its height."""
    hand = view.mask == view.hands[0].instance
    m = _draw_placement(scene, hand, (0.07, 0.95), rng)
    if m is not None:
        scene.paste(_premultiplied(view, rng), hand, m)


def paste_photograph(scene: Scene, photograph: Photograph, backgrounds: list[np.ndarray], rng: Rng) -> None:
    """Lay a hand cut out of a photograph over the frame, now and then before a thing."""
    labels = [label for label in photograph.labels if label.weight > _GOOD_MASK_WEIGHT]
    if not labels:
        return
    label = labels[int(rng.integers(len(labels)))]
    hand = label.mask == 1
    m = _draw_placement(scene, hand, (0.07, 0.8), rng)
    if m is None:
        return
    rows, columns = label.mask.shape
    window = photograph.decode()[label.y : label.y + rows, label.x : label.x + columns]
    window = augment.tone(np.ascontiguousarray(window), rng)
    alpha = cv2.GaussianBlur((label.mask != 0).astype(np.float32), (0, 0), 0.8)[..., None]
    if rng.random() < 0.35:
        _place_thing_behind(scene, hand, m, backgrounds, rng)
    scene.paste(np.dstack((window * alpha, alpha * 255)).astype(np.float32), hand, m)


def occlude_hands(scene: Scene, backgrounds: list[np.ndarray], rng: Rng) -> None:
    """Lay one or two things across the frame, mostly across a hand, which may fall into parts."""
    w, h = scene.size
    boxes = [box for box in map(centre_box, scene.hands) if box is not None]
    for _ in range(1 + int(rng.random() < 0.25)):
        if boxes and rng.random() < 0.9:
            box = boxes[int(rng.integers(len(boxes)))]
            centre, extent = box[:2].astype(float), float(box[2:].max())
        else:
            centre, extent = rng.uniform(0, 1, 2) * (w, h), h * rng.uniform(0.15, 0.6)
        area = occluder_mask((h, w), centre, extent, rng)
        scene.cover(area, occluder_texture(backgrounds, (h, w), rng))


def label_boxes(scene: Scene, whole_px: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes to find and the boxes to ignore, float32 (8, 4) each, NaN for none.

    Args:
        scene: The finished frame.
        whole_px: Pixels of each hand before anything covered it.
    """
    wanted: list[np.ndarray] = []
    ignored: list[np.ndarray] = []
    for hand, whole in zip(scene.hands, whole_px, strict=True):
        box = speck_box(hand)
        if box is None:
            continue
        visible = hand.sum() >= max(_MIN_VISIBLE_FRACTION * whole, 1)
        large = centre_box(hand) is not None and max(box[2:]) >= _MIN_BOX_SIDE_PX
        clear = visible and large and _contrast(scene.image, box) >= _MIN_CONTRAST
        (wanted if clear else ignored).append(box)
    return _padded(wanted), _padded(ignored)


def _premultiplied(view: RenderedView, rng: Rng) -> np.ndarray:
    """Return the view's colours with another tone, float32 (h, w, 4), premultiplied."""
    rgba = view.rgba.astype(np.float32)
    rgba[..., :3] = augment.tone(view.rgba[..., :3], rng, 0.7) * (rgba[..., 3:] / 255)
    return rgba


def _draw_placement(
    scene: Scene, hand: np.ndarray, height_range: tuple[float, float], rng: Rng
) -> np.ndarray | None:
    """Draw the (2, 3) transform that puts a hand into the frame, or None if there is no hand.

    Args:
        scene: The frame.
        hand: The hand's pixels in its own image (H, W).
        height_range: Longer side of the hand over the height of the frame.
        rng: Random generator.
    """
    box = centre_box(hand)
    if box is None:
        return None
    w, h = scene.size
    low, high = np.log(height_range)
    extent = float(np.exp(rng.uniform(low, high))) * h
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.3)
    target = _draw_target(extent, (w, h), rng)
    return similarity_2x3(extent / float(box[2:].max()), angle, box[:2].astype(float), target)


def _draw_target(extent: float, size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Draw where a hand goes: near the middle if large, else anywhere, some cut by an edge."""
    w, h = size
    if extent > 0.6 * h:
        return np.array([w, h]) * rng.uniform(0.3, 0.7, 2)
    if rng.random() < 0.3:
        axis, far_edge = int(rng.integers(2)), int(rng.integers(2))
        target = rng.uniform(0.05, 0.95, 2) * (w, h)
        inset = rng.uniform(-0.15, 0.5) * extent
        target[axis] = size[axis] - inset if far_edge else inset
        return target
    return rng.uniform(0.03, 0.97, 2) * (w, h)


def _place_thing_behind(
    scene: Scene, hand: np.ndarray, m: np.ndarray, backgrounds: list[np.ndarray], rng: Rng
) -> None:
    w, h = scene.size
    box = centre_box(warp_mask(hand, m, (w, h)))
    if box is not None:
        extent = float(box[2:].max()) * rng.uniform(0.8, 2.0)
        area = occluder_mask((h, w), box[:2].astype(float), extent, rng)
        scene.place_behind(area, occluder_texture(backgrounds, (h, w), rng))


def _degrade(frame: np.ndarray, rng: Rng) -> np.ndarray:
    """Apply camera effects, which take squares, to a frame."""
    h, w = frame.shape[:2]
    side = max(h, w)
    square = cv2.copyMakeBorder(frame, 0, side - h, 0, side - w, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(augment.degrade(square, rng)[:h, :w])


def _letterbox(scene: Scene, rng: Rng) -> None:
    """Add black bars of another aspect ratio, as `HandDetector` letter-boxes frames."""
    w, h = scene.size
    if rng.random() < 0.5:
        return
    left = right = top = bottom = 0
    if rng.random() < 0.6:
        top = bottom = int(rng.integers(0, h // 5))
    else:
        left = right = int(rng.integers(0, w // 4))
    bars = np.ones((h, w), bool)
    bars[top : h - bottom, left : w - right] = False
    scene.cover(bars, 0)


def _contrast(image: np.ndarray, box: np.ndarray) -> float:
    """Return the standard deviation of grey levels in and around a box."""
    x, y, w, h = (float(value) for value in box)
    left, top = max(int(x - 0.65 * w), 0), max(int(y - 0.65 * h), 0)
    part = np.ascontiguousarray(image[top : int(y + 0.65 * h) + 1, left : int(x + 0.65 * w) + 1])
    return float(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).std()) if part.size else 0.0


def _padded(boxes: list[np.ndarray]) -> np.ndarray:
    rows = np.full((MAX_BOXES, 4), np.nan, np.float32)
    for row, box in zip(rows, boxes, strict=False):
        row[:] = box
    return rows
