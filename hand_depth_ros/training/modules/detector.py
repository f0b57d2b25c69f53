"""Training of the detector with Lightning: penalty-reduced focal loss on centres (Zhou et al. 2019), L1 on boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from hand_depth_ros.network import DetectorConfig, HandDetectorNet
from hand_depth_ros.network.detector import STRIDE, DetectorPrediction
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.base import NetworkTraining
from hand_depth_ros.training.samples.crops import Sources
from hand_depth_ros.training.samples.frames import FrameDataset

_MEET = 0.3


def targets(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heat map (B, 1, h, w), box values (B, 4, h, w) and where they count (B, 1, h, w), for boxes (B, n, 4) in pixels."""
    h, w = height // STRIDE, width // STRIDE
    y = torch.arange(h, device=boxes.device)[:, None].float()
    x = torch.arange(w, device=boxes.device)[None].float()
    heat = boxes.new_zeros(len(boxes), 1, h, w)
    values, counts = boxes.new_zeros(len(boxes), 4, h, w), boxes.new_zeros(len(boxes), 1, h, w)
    for b in range(len(boxes)):
        known = boxes[b][torch.isfinite(boxes[b, :, 0])]
        for box in known[(known[:, 2] * known[:, 3]).argsort(descending=True)]:
            cx, cy = (box[0] + 0.5) / STRIDE - 0.5, (box[1] + 0.5) / STRIDE - 0.5
            bw, bh = box[2] / STRIDE, box[3] / STRIDE
            gx, gy = x - cx.round().clamp(0, w - 1), y - cy.round().clamp(0, h - 1)
            sx, sy = (bw / 6).clamp_min(0.35), (bh / 6).clamp_min(0.35)
            heat[b, 0] = torch.maximum(heat[b, 0], torch.exp(-0.5 * ((gx / sx) ** 2 + (gy / sy) ** 2)))
            near = (gx.abs() <= 1) & (gy.abs() <= 1)
            values[b, 0][near], values[b, 1][near] = (cx - x).expand(h, w)[near], (cy - y).expand(h, w)[near]
            values[b, 2][near], values[b, 3][near] = bw.log(), bh.log()
            counts[b, 0][near] = torch.where((gx == 0) & (gy == 0), 1.0, 0.4)[near]
    return heat, values, counts


def detector_loss(
    prediction: DetectorPrediction, boxes: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """(centre loss, box loss) of a batch."""
    heat, values, counts = targets(boxes, height, width)
    logit = prediction.centre
    p = torch.sigmoid(logit)
    positive = heat == 1
    hit = -F.logsigmoid(logit) * (1 - p) ** 2
    miss = -F.logsigmoid(-logit) * p**2 * (1 - heat) ** 4
    centre = torch.where(positive, hit, miss).sum() / positive.sum().clamp_min(1)
    box = ((prediction.box - values).abs() * counts).sum() / counts.sum().clamp_min(1)
    return centre, box


class DetectorTraining(NetworkTraining):
    """Whole frames in, hand boxes out."""

    network: HandDetectorNet

    def __init__(self, config: TrainConfig, sources: Sources, validation: dict[str, Sources]) -> None:
        super().__init__(
            HandDetectorNet(DetectorConfig.from_dict(config.network)), config, sources, validation
        )
        self.size = (self.network.config.input_width, self.network.config.input_height)

    def dataset(self, sources: Sources, length: int, seed: int, epoch: int) -> Dataset[dict[str, Any]]:
        data = FrameDataset(sources, self.size, length, seed)
        data.epoch = epoch
        return data

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        centre, box = detector_loss(
            self.network(self.pictures(batch)), batch["boxes"], self.size[1], self.size[0]
        )
        self.log_dict({"train/centre": centre.detach(), "train/box": box.detach()}, prog_bar=True)
        return centre + 0.3 * box

    def validation_step(self, batch: dict[str, Tensor], index: int, dataloader_idx: int = 0) -> None:
        from hand_depth_ros.estimation.detector import decode_boxes
        from hand_depth_ros.geometry.boxes import pairwise_iou

        prediction = self.average.network(self.pictures(batch))
        found: list[float] = []
        false: list[float] = []
        for b, truth in enumerate(batch["boxes"]):
            known = truth[torch.isfinite(truth[:, 0])]
            boxes, _ = decode_boxes(prediction.centre[b].float(), prediction.box[b].float(), 0.35, len(truth))
            corner = torch.cat((known[:, :2] - known[:, 2:] / 2 + 0.5, known[:, 2:]), 1).cpu().numpy()
            meets = pairwise_iou(corner, boxes) > _MEET
            found.extend(meets.any(1).astype(float) if len(boxes) else [0.0] * len(corner))
            false.append(float((~meets.any(0)).sum()) if len(corner) else float(len(boxes)))
        values = {"found": torch.tensor(found), "false": torch.tensor(false)}
        self.log_validation(dataloader_idx, values, len(batch["boxes"]))
