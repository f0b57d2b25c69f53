"""Training that both networks share: optimizer, schedule, EMA, validation, export."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hand_depth_ros.network import HandDepthNet, HandDetectorNet, save_weights
from hand_depth_ros.network.backbone import BLOCKS, Backbone
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.ema import EMA
from hand_depth_ros.training.modules.start import load_start
from hand_depth_ros.training.samples.training_data import TrainingData

_VALIDATION_SEED = 12345
_VALIDATION_BATCH = 64
_WARM_UP = 0.03
_FIRST_FACTOR, _LAST_FACTOR = 1 / 25, 1 / 2500


def one_cycle(progress: float) -> float:
    """Return the factor on the learning rate at ``progress`` (0..1) through the budget.

    It rises from 1/25 over the first 3 % and falls to 1/2500, by cosines, like OneCycleLR.
    """
    if progress < _WARM_UP:
        low, phase = _FIRST_FACTOR, progress / _WARM_UP
    else:
        low, phase = _LAST_FACTOR, (1 - progress) / (1 - _WARM_UP)
    return low + (1 - low) * (1 - math.cos(math.pi * phase)) / 2


class NetworkTraining(lightning.LightningModule):
    """A network, its EMA and its data.

    A subclass adds ``dataset``, ``training_step`` and ``validation_step``.

    Attributes:
        minutes: Budget in minutes instead of samples; set it before training starts.
    """

    network: nn.Module

    def __init__(
        self,
        network: HandDepthNet | HandDetectorNet,
        config: TrainConfig,
        data: TrainingData,
        validation: dict[str, TrainingData],
    ) -> None:
        super().__init__()
        self.config, self.data, self.validation = config, data, validation
        self.minutes: float | None = None
        self._seconds_before = 0.0
        self._started: float | None = None
        load_start(network, config)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(backbone := getattr(network, "backbone", None), Backbone):
            backbone.freeze(config.backbone_frozen_blocks if config.backbone_lr_scale else BLOCKS)
        self.ema = EMA(self.network, config.ema_decay)

    def dataset(self, data: TrainingData, length: int, seed: int, epoch: int) -> Dataset[dict[str, Any]]:
        """Return the samples of one epoch."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the current epoch."""
        samples = self.dataset(self.data, self.config.epoch_samples, self.config.seed, self.current_epoch)
        workers = self.config.workers
        return DataLoader(
            samples,
            self.config.batch,
            num_workers=workers,
            drop_last=True,
            prefetch_factor=4 if workers else None,
        )

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return a loader per validation set; its samples are the same in every epoch."""
        return [
            DataLoader(
                self.dataset(data, self.config.val_samples, _VALIDATION_SEED, 0),
                _VALIDATION_BATCH,
                num_workers=1,
            )
            for data in self.validation.values()
        ]

    def configure_optimizers(self) -> Any:
        """Return AdamW with a one-cycle schedule, by samples or by the clock."""
        rate = self.config.learning_rate
        optimizer = torch.optim.AdamW(self._parameter_groups(), lr=rate)
        scheduler: Any
        if self.minutes is not None:
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: one_cycle(self.progress()))
        else:
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                [group["lr"] for group in optimizer.param_groups],
                total_steps=self.trainer.max_steps + 1,
                pct_start=_WARM_UP,
                final_div_factor=100.0,
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Group parameters by learning rate (backbone or not) and weight decay (matrices only)."""
        rate, decay = self.config.learning_rate, self.config.weight_decay
        backbone = getattr(self.network, "backbone", None)
        in_backbone = {id(p) for p in backbone.parameters()} if backbone is not None else set()
        trained = [p for p in backbone.parameters() if p.requires_grad] if backbone is not None else []
        others = [p for p in self.network.parameters() if id(p) not in in_backbone]
        return [
            {"params": [p for p in part if (p.ndim > 1) == wide], "weight_decay": decay * wide, "lr": lr}
            for part, lr in ((others, rate), (trained, rate * self.config.backbone_lr_scale))
            if part
            for wide in (True, False)
        ]

    def images(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the network's input (B, 3, H, W), 0..1, from the batch's uint8 ``rgb``."""
        return (batch["rgb"].float() / 255).contiguous(memory_format=torch.channels_last)

    def log_validation(self, dataloader_idx: int, values: dict[str, Tensor], count: int) -> None:
        """Log the means of the known values under the name of the validation set."""
        name = list(self.validation)[dataloader_idx]
        means = {f"{name}/{key}": value.nanmean() for key, value in values.items()}
        self.log_dict(means, add_dataloader_idx=False, batch_size=count)

    def progress(self) -> float:
        """Return the fraction of ``minutes`` that is over, 0..1, over all runs of this training."""
        assert self.minutes is not None
        running = monotonic() - self._started if self._started is not None else 0.0
        return min(1.0, (self._seconds_before + running) / (60 * self.minutes))

    def on_fit_start(self) -> None:
        """Move the EMA to where the network is."""
        self.ema.network.to(self.device)

    def on_validation_start(self) -> None:
        """Move the EMA to where the network is."""
        self.ema.network.to(self.device)

    def on_train_start(self) -> None:
        """Start the clock."""
        self._started = monotonic()

    def on_train_batch_end(self, *args: Any) -> None:
        """Update the EMA; stop when the minutes are over."""
        self.ema.update(self.network)
        if self.minutes is not None and self.progress() >= 1:
            self.trainer.fit_loop.epoch_loop.max_steps = self.trainer.global_step

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the config, the EMA and the time spent."""
        checkpoint["config"] = dataclasses.asdict(self.config)
        checkpoint["ema"] = (self.ema.network.state_dict(), self.ema.steps)
        if self.minutes is not None:
            checkpoint["seconds"] = self.progress() * 60 * self.minutes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the EMA and the time spent."""
        self._seconds_before = checkpoint.get("seconds", 0.0)
        state, self.ema.steps = checkpoint["ema"]
        self.ema.network.load_state_dict(state)

    def calibration(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return factors on the network's uncertainties; none by default."""
        return {}

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network as a weights file."""
        save_weights(self.ema.network, path, info)  # type: ignore[arg-type]
