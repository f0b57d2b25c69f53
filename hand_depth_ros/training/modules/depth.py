"""Training of the depth network with Lightning: resumable, multi-GPU by Lightning's own flags, weights exported as it goes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hand_depth_ros.network import HandDepthNet, NetworkConfig
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.base import NetworkTraining
from hand_depth_ros.training.modules.losses import UNKNOWN, total_loss
from hand_depth_ros.training.samples.crops import CropDataset, Shape, Sources


class DepthTraining(NetworkTraining):
    """Virtual-camera crops in, masks and depth in hand lengths out."""

    network: HandDepthNet

    def __init__(self, config: TrainConfig, sources: Sources, validation: dict[str, Sources]) -> None:
        super().__init__(HandDepthNet(NetworkConfig.from_dict(config.network)), config, sources, validation)

    def dataset(self, sources: Sources, length: int, seed: int, epoch: int) -> Dataset[dict[str, Any]]:
        data = CropDataset(sources, Shape.of(self.network.config), length, seed)
        data.epoch = epoch
        return data

    def calibration(self, metrics: dict[str, float]) -> dict[str, float]:
        """Factors on the three parts of sigma, from the validation's ``sigma_*``: the mean over the sets that have them."""
        parts = {}
        for part in ("relief", "apparent_size", "length"):
            found = [
                v
                for name in self.validation
                if math.isfinite(v := metrics.get(f"{name}/sigma_{part}", math.nan))
            ]
            if found:
                parts[part] = sum(found) / len(found)
        return parts

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        real, weight = batch["real"] > 0, batch["weight"]
        weight = torch.where(real, weight * self.config.real_weight, weight)
        size_weight = torch.where(real, weight * self.config.real_size_weight, weight)
        prediction = self.network(self.pictures(batch))
        labels = {**batch, "weight": weight, "size_weight": size_weight}
        loss, parts = total_loss(prediction, labels, self.network.config.intermediate)
        self.log_dict({f"train/{k}": v for k, v in parts.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int, dataloader_idx: int = 0) -> None:
        prediction = self.average.network(self.pictures(batch))
        final = prediction.final
        hand, known = batch["mask"][:, None] == 1, batch["mask"][:, None] != UNKNOWN
        guess = final.mask > 0
        overlap = (guess & hand & known).sum((1, 2, 3)) / ((guess | hand) & known).sum((1, 2, 3)).clamp_min(1)
        error = (final.relief - batch["relief"][:, None]).flatten(1)
        scale = (prediction.scalars[:, 0] - batch["scalars"][:, 0]).abs()
        length = (prediction.scalars[:, 2] - batch["scalars"][:, 1]).abs()
        values = {
            "iou": overlap,
            "shape": _spread(error),
            "constant": _spread(batch["relief"].flatten(1)),
            "apparent_size": scale,
            "length": length,
            "sigma_relief": _one_sigma(error, final.log_b.flatten(1)),
            "sigma_apparent_size": _one_sigma(scale, prediction.scalars[:, 1]),
            "sigma_length": _one_sigma(length, prediction.scalars[:, 3]),
        }
        self.log_validation(dataloader_idx, values, len(hand))


def _one_sigma(error: Tensor, log_b: Tensor) -> Tensor:
    """By how much the predicted standard deviation must grow for 68.3 % of the known errors to lie within one."""
    ratio = error.abs() / (math.sqrt(2.0) * log_b.exp())
    return (
        ratio[torch.isfinite(ratio)].float().cpu().quantile(0.683)
        if torch.isfinite(ratio).any()
        else error.new_tensor(math.nan)
    )


def _spread(values: Tensor) -> Tensor:
    """Mean absolute deviation from the median of each row, over what is known (not NaN): (B, n) to (B,)."""
    return (values - values.nanmedian(1, keepdim=True).values).abs().nanmean(1)
