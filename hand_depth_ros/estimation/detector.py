"""Where the hands are in a whole frame: boxes from the detector network, at a reduced, letter-boxed resolution.

Knows nothing of ROS or of training.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hand_depth_ros.network.detector import STRIDE, HandDetectorNet


class Detection(NamedTuple):
    """A box (x, y, width, height) in frame pixels, x and y its upper left corner, and a score 0..1."""

    roi: tuple[float, float, float, float]
    score: float


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4), each x, y, width, height: (n, m)."""
    a, b = np.asarray(a, float).reshape(-1, 4)[:, None], np.asarray(b, float).reshape(-1, 4)[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), -1)
    return shared / np.maximum(a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared, 1e-9)


def decode_boxes(centre: Tensor, box: Tensor, threshold: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) x, y, width, height in input pixels and scores (n,) of one frame, best first.

    ``centre`` (1, h, w) logits and ``box`` (4, h, w), as :class:`hand_depth_ros.network.detector.DetectorPrediction` has
    them. A cell counts when it is the highest of its 3x3 neighbourhood; boxes that overlap a better one by half are dropped.
    """
    heat = torch.sigmoid(centre)
    peak = heat * (F.max_pool2d(heat[None], 3, 1, 1)[0] == heat)
    scores, cells = peak.flatten().topk(min(4 * most, peak.numel()))
    packed = torch.cat((scores[None], cells[None].float(), box.flatten(1)[:, cells])).cpu().numpy()
    packed = packed[:, packed[0] >= threshold]
    rows, columns = np.divmod(packed[1].astype(int), centre.shape[-1])
    size = np.exp(np.clip(packed[4:6], -2, 5)) * STRIDE
    x, y = (columns + packed[2] + 0.5) * STRIDE, (rows + packed[3] + 0.5) * STRIDE
    boxes = np.stack((x - size[0] / 2, y - size[1] / 2, *size), 1)
    kept: list[int] = []
    for i in range(len(boxes)):
        if len(kept) < most and not (kept and (overlaps(boxes[i], boxes[kept]) > 0.5).any()):
            kept.append(i)
    return boxes[kept], packed[0][kept]


class HandDetector:
    """Finds hands in RGB frames of any size with a :class:`HandDetectorNet` whose weights are of type ``dtype``."""

    def __init__(
        self, network: HandDetectorNet, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self._network = network.to(device).eval()
        self._device, self._dtype = device, dtype

    @torch.inference_mode()
    def find(self, rgb: np.ndarray | Tensor, threshold: float = 0.35, most: int = 4) -> list[Detection]:
        """Hands in ``rgb``, uint8, numpy (H, W, 3) or a tensor (3, H, W) on the device; best first."""
        config = self._network.config
        height, width = rgb.shape[:2] if isinstance(rgb, np.ndarray) else rgb.shape[1:]
        k = min(config.input_width / width, config.input_height / height)
        w, h = max(1, round(width * k)), max(1, round(height * k))
        left, top = (config.input_width - w) // 2, (config.input_height - h) // 2
        if isinstance(rgb, np.ndarray):
            small = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA if k < 1 else cv2.INTER_LINEAR)
            picture = torch.from_numpy(small).permute(2, 0, 1).to(self._device).float()[None]
        else:
            picture = F.interpolate(rgb[None].float(), (h, w), mode="area" if k < 1 else "bilinear")
        canvas = torch.zeros((1, 3, config.input_height, config.input_width), device=self._device)
        canvas[:, :, top : top + h, left : left + w] = picture / 255
        prediction = self._network(canvas.to(self._dtype, memory_format=torch.channels_last))
        boxes, scores = decode_boxes(prediction.centre[0], prediction.box[0], threshold, most)
        boxes = (boxes - (left, top, 0, 0)) / (w / width, h / height, w / width, h / height)
        return [
            Detection((float(x), float(y), float(bw), float(bh)), float(score))
            for (x, y, bw, bh), score in zip(boxes, scores, strict=True)
        ]
