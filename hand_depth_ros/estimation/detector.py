"""Detect hands in a whole frame.

Boxes from the detector network, at a reduced, letter-boxed resolution.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hand_depth_ros.estimation.frame import Frame
from hand_depth_ros.geometry.boxes import Box, pairwise_iou
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.network.detector import STRIDE, HandDetectorNet

_NMS_IOU = 0.5
"""A box that overlaps a better one by more is dropped."""
_MIN_SIDE_PX = 4
"""Boxes with less than this inside the frame are dropped."""


class Detection(NamedTuple):
    """A box in frame pixels and a score 0..1."""

    box: Box
    score: float


def decode_boxes(
    centre: Tensor, box: Tensor, threshold: float, max_boxes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the network's maps for one frame.

    A cell counts if it is the highest of its 3x3 neighbourhood; boxes that overlap a better one by
    half are dropped.

    Args:
        centre: (1, h, w) logits, see :class:`hand_depth_ros.network.detector.DetectorPrediction`.
        box: (4, h, w) offsets and log sizes.
        threshold: Minimum score.
        max_boxes: Maximum number of boxes.

    Returns:
        Boxes (n, 4) x, y, width, height in input pixels and scores (n,), best first.
    """
    heat = torch.sigmoid(centre)
    peak = heat * (F.max_pool2d(heat[None], 3, 1, 1)[0] == heat)
    scores, cells = peak.flatten().topk(min(4 * max_boxes, peak.numel()))
    table = torch.cat((scores[None], cells[None].float(), box.flatten(1)[:, cells])).cpu().numpy()
    scores_host, cells_host, dx, dy, log_width, log_height = table[:, table[0] >= threshold]
    rows, columns = np.divmod(cells_host.astype(int), centre.shape[-1])
    size = np.exp(np.clip(np.stack((log_width, log_height)), -2, 5)) * STRIDE
    x, y = (columns + dx + 0.5) * STRIDE, (rows + dy + 0.5) * STRIDE
    boxes = np.stack((x - size[0] / 2, y - size[1] / 2, *size), 1)
    kept: list[int] = []
    for i in range(len(boxes)):
        if len(kept) < max_boxes and not (kept and (pairwise_iou(boxes[i], boxes[kept]) > _NMS_IOU).any()):
            kept.append(i)
    return boxes[kept], scores_host[kept]


def clip_detections(detections: list[Detection], camera: Camera) -> list[Detection]:
    """Cut boxes to the frame; drop those of which hardly anything lies inside."""
    clipped = [Detection(box.clipped(camera.width, camera.height), score) for box, score in detections]
    return [d for d in clipped if min(d.box.width, d.box.height) >= _MIN_SIDE_PX]


class HandDetector:
    """Detect hands in RGB images of any size with a :class:`HandDetectorNet`.

    ``dtype`` is the type of the network's parameters.
    """

    def __init__(
        self, network: HandDetectorNet, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self._network = network.to(device).eval()
        self._device, self._dtype = device, dtype

    def detect_in_frame(
        self, frame: Frame, threshold: float = 0.35, max_detections: int = 4
    ) -> list[Detection]:
        """Detect hands in a frame; boxes are cut to it, best first."""
        image = frame.image if self._device.type == "cuda" else frame.rgb
        return clip_detections(self.detect(image, threshold, max_detections), frame.camera)

    @torch.inference_mode()
    def detect(
        self, image: np.ndarray | Tensor, threshold: float = 0.35, max_detections: int = 4
    ) -> list[Detection]:
        """Detect hands in an image.

        Args:
            image: uint8, an array (H, W, 3) or a tensor (3, H, W) on the device.
            threshold: Minimum score, 0..1.
            max_detections: Maximum number of detections.

        Returns:
            Boxes in image pixels, which may reach beyond the image, best first.
        """
        config = self._network.config
        height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.shape[1:]
        k = min(config.input_width / width, config.input_height / height)
        w, h = max(1, round(width * k)), max(1, round(height * k))
        left, top = (config.input_width - w) // 2, (config.input_height - h) // 2
        if isinstance(image, np.ndarray):
            small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if k < 1 else cv2.INTER_LINEAR)
            resized = torch.from_numpy(small).permute(2, 0, 1).to(self._device).float()[None]
        else:
            resized = F.interpolate(image[None].float(), (h, w), mode="area" if k < 1 else "bilinear")
        canvas = torch.zeros((1, 3, config.input_height, config.input_width), device=self._device)
        canvas[:, :, top : top + h, left : left + w] = resized / 255
        prediction = self._network(canvas.to(self._dtype, memory_format=torch.channels_last))
        boxes, scores = decode_boxes(prediction.centre[0], prediction.box[0], threshold, max_detections)
        boxes = (boxes - (left, top, 0, 0)) / (w / width, h / height, w / width, h / height)
        return [
            Detection(Box(*(float(value) for value in box)), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]
