"""Training of the detector: penalty-reduced focal loss on centres, L1 on boxes.

After Zhou et al., "Objects as Points", 2019.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from hand_depth_ros.geometry.boxes import pairwise_iou
from hand_depth_ros.network import DetectorConfig, HandDetectorNet
from hand_depth_ros.network.detector import STRIDE, DetectorPrediction
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.base import NetworkTraining
from hand_depth_ros.training.samples.frames import FrameDataset
from hand_depth_ros.training.samples.training_data import TrainingData

_BOX_WEIGHT = 0.3
_NEIGHBOUR_WEIGHT = 0.4
"""Weight of the box predicted by the eight cells around a centre."""
_MATCH_IOU = 0.3
_SCORE_THRESHOLD = 0.35


def targets(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the detector should predict.

    Args:
        boxes: (B, n, 4) centre x, y, width, height in input pixels, NaN for none.
        height: Height of the input in pixels.
        width: Width of the input in pixels.

    Returns:
        Heat map (B, 1, h, w), box values (B, 4, h, w) and their weights (B, 1, h, w).
    """
    h, w = height // STRIDE, width // STRIDE
    y, x = _cells(h, w, boxes)
    heat = boxes.new_zeros(len(boxes), 1, h, w)
    values, weights = boxes.new_zeros(len(boxes), 4, h, w), boxes.new_zeros(len(boxes), 1, h, w)
    for b in range(len(boxes)):
        known = _known(boxes[b])
        for box in known[(known[:, 2] * known[:, 3]).argsort(descending=True)]:
            cx, cy = _centre_cell(box)
            bw, bh = box[2] / STRIDE, box[3] / STRIDE
            gx, gy = x - cx.round().clamp(0, w - 1), y - cy.round().clamp(0, h - 1)
            sx, sy = (bw / 6).clamp_min(0.35), (bh / 6).clamp_min(0.35)
            heat[b, 0] = torch.maximum(heat[b, 0], torch.exp(-0.5 * ((gx / sx) ** 2 + (gy / sy) ** 2)))
            near = (gx.abs() <= 1) & (gy.abs() <= 1)
            values[b, 0][near], values[b, 1][near] = (cx - x).expand(h, w)[near], (cy - y).expand(h, w)[near]
            values[b, 2][near], values[b, 3][near] = bw.log(), bh.log()
            weights[b, 0][near] = torch.where((gx == 0) & (gy == 0), 1.0, _NEIGHBOUR_WEIGHT)[near]
    return heat, values, weights


def ignored_cells(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the cells (B, 1, h, w), bool, in or next to boxes (B, n, 4) that are to be ignored."""
    h, w = height // STRIDE, width // STRIDE
    y, x = _cells(h, w, boxes)
    inside = torch.zeros((len(boxes), 1, h, w), dtype=torch.bool, device=boxes.device)
    for b in range(len(boxes)):
        for box in _known(boxes[b]):
            cx, cy = _centre_cell(box)
            inside[b, 0] |= ((x - cx).abs() <= box[2] / STRIDE / 2 + 1) & (
                (y - cy).abs() <= box[3] / STRIDE / 2 + 1
            )
    return inside


def detector_loss(
    prediction: DetectorPrediction, boxes: Tensor, ignored: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Return the loss of the centres and that of the boxes.

    Args:
        prediction: The network's output for a batch.
        boxes: (B, n, 4) boxes to find, as in `targets`.
        ignored: (B, n, 4) boxes in which a detection is not punished.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
    """
    heat, values, weights = targets(boxes, height, width)
    logit = prediction.centre
    p = torch.sigmoid(logit)
    positive = heat == 1
    hit = -F.logsigmoid(logit) * (1 - p) ** 2
    miss = -F.logsigmoid(-logit) * p**2 * (1 - heat) ** 4
    miss = miss.masked_fill(ignored_cells(ignored, height, width), 0.0)
    centre = torch.where(positive, hit, miss).sum() / positive.sum().clamp_min(1)
    box = ((prediction.box - values).abs() * weights).sum() / weights.sum().clamp_min(1)
    return centre, box


class DetectorTraining(NetworkTraining):
    """Trains a `HandDetectorNet`: whole frames in, hand boxes out."""

    network: HandDetectorNet

    def __init__(self, config: TrainConfig, data: TrainingData, validation: dict[str, TrainingData]) -> None:
        network = HandDetectorNet(DetectorConfig.from_dict(config.network))
        super().__init__(network, config, data, validation)
        self.size = (self.network.config.input_width, self.network.config.input_height)

    def dataset(self, data: TrainingData, length: int, seed: int, epoch: int) -> Dataset[dict[str, Any]]:
        """Return the frames of one epoch."""
        samples = FrameDataset(data, self.size, length, seed)
        samples.epoch = epoch
        return samples

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        prediction = self.network(self.images(batch))
        width, height = self.size
        centre, box = detector_loss(prediction, batch["boxes"], batch["ignored"], height, width)
        self.log_dict({"train/centre": centre.detach(), "train/box": box.detach()}, prog_bar=True)
        return centre + _BOX_WEIGHT * box

    def validation_step(self, batch: dict[str, Tensor], index: int, dataloader_idx: int = 0) -> None:
        """Log the fraction of hands that are found and the false detections per frame."""
        from hand_depth_ros.estimation.detector import decode_boxes

        prediction = self.ema.network(self.images(batch))
        found: list[float] = []
        false: list[float] = []
        for b, truth in enumerate(batch["boxes"]):
            known = _known(truth)
            boxes, _ = decode_boxes(
                prediction.centre[b].float(), prediction.box[b].float(), _SCORE_THRESHOLD, len(truth)
            )
            corners = torch.cat((known[:, :2] - known[:, 2:] / 2 + 0.5, known[:, 2:]), 1).cpu().numpy()
            matches = pairwise_iou(corners, boxes) > _MATCH_IOU
            found.extend(matches.any(1).astype(float) if len(boxes) else [0.0] * len(corners))
            false.append(float((~matches.any(0)).sum()) if len(corners) else float(len(boxes)))
        values = {"found": torch.tensor(found), "false": torch.tensor(false)}
        self.log_validation(dataloader_idx, values, len(batch["boxes"]))


def _cells(h: int, w: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return row (h, 1) and column (1, w) of every cell."""
    y = torch.arange(h, device=like.device)[:, None].float()
    return y, torch.arange(w, device=like.device)[None].float()


def _known(boxes: Tensor) -> Tensor:
    return boxes[torch.isfinite(boxes[:, 0])]


def _centre_cell(box: Tensor) -> tuple[Tensor, Tensor]:
    """Return column and row of a box's centre, in cells."""
    return (box[0] + 0.5) / STRIDE - 0.5, (box[1] + 0.5) / STRIDE - 0.5
