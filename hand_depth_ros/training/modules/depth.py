"""Training of the depth network: virtual-camera crops in, masks and depth in hand lengths out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hand_depth_ros.network import HandDepthNet, NetworkConfig
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.photographs import UNKNOWN
from hand_depth_ros.training.modules.base import NetworkTraining
from hand_depth_ros.training.modules.losses import total_loss
from hand_depth_ros.training.samples.crops import CropDataset
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape

_ONE_SIGMA = 0.683
"""Fraction of errors within one standard deviation."""


class DepthTraining(NetworkTraining):
    """Trains a `HandDepthNet`."""

    network: HandDepthNet

    def __init__(self, config: TrainConfig, data: TrainingData, validation: dict[str, TrainingData]) -> None:
        network = HandDepthNet(NetworkConfig.from_dict(config.network))
        super().__init__(network, config, data, validation)

    def dataset(self, data: TrainingData, length: int, seed: int, epoch: int) -> Dataset[dict[str, Any]]:
        """Return the crop samples of one epoch."""
        samples = CropDataset(data, CropShape.of(self.network.config), length, seed)
        samples.epoch = epoch
        return samples

    def calibration(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return factors on the three parts of sigma: means over the validation sets."""
        factors = {}
        for part in ("relief", "apparent_size", "length"):
            values = [metrics.get(f"{name}/sigma_{part}", math.nan) for name in self.validation]
            known = [value for value in values if math.isfinite(value)]
            if known:
                factors[part] = sum(known) / len(known)
        return factors

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Return the loss of a batch; photographs count as much as the config says."""
        real, weight = batch["real"] > 0, batch["weight"]
        weight = torch.where(real, weight * self.config.real_weight, weight)
        size_weight = torch.where(real, weight * self.config.real_size_weight, weight)
        prediction = self.network(self.images(batch))
        labels = {**batch, "weight": weight, "size_weight": size_weight}
        loss, parts = total_loss(prediction, labels, self.network.config.intermediate)
        self.log_dict({f"train/{k}": v for k, v in parts.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int, dataloader_idx: int = 0) -> None:
        """Log mask IoU, errors and how far off sigma is."""
        prediction = self.ema.network(self.images(batch))
        final = prediction.final
        hand, known = batch["mask"][:, None] == 1, batch["mask"][:, None] != UNKNOWN
        predicted = final.mask > 0
        shared = (predicted & hand & known).sum((1, 2, 3))
        iou = shared / ((predicted | hand) & known).sum((1, 2, 3)).clamp_min(1)
        error = (final.relief - batch["relief"][:, None]).flatten(1)
        size_error = (prediction.scalars[:, 0] - batch["scalars"][:, 0]).abs()
        length_error = (prediction.scalars[:, 2] - batch["scalars"][:, 1]).abs()
        values = {
            "iou": iou,
            "shape": _median_aligned(error),
            "constant": _median_aligned(batch["relief"].flatten(1)),
            "apparent_size": size_error,
            "length": length_error,
            "sigma_relief": _sigma_factor(error, final.log_b.flatten(1)),
            "sigma_apparent_size": _sigma_factor(size_error, prediction.scalars[:, 1]),
            "sigma_length": _sigma_factor(length_error, prediction.scalars[:, 3]),
        }
        self.log_validation(dataloader_idx, values, len(hand))


def _sigma_factor(error: Tensor, log_b: Tensor) -> Tensor:
    """Return the factor on the predicted sigma that puts 68.3 % of the known errors within one."""
    ratio = error.abs() / (math.sqrt(2.0) * log_b.exp())
    known = ratio[torch.isfinite(ratio)]
    return known.float().cpu().quantile(_ONE_SIGMA) if len(known) else error.new_tensor(math.nan)


def _median_aligned(values: Tensor) -> Tensor:
    """Return each row's mean absolute deviation from its median: (B, n) to (B,)."""
    return (values - values.nanmedian(1, keepdim=True).values).abs().nanmean(1)
