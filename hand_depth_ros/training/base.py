"""What both trainings share: AdamW with a warm-up and a cosine over the whole budget, a moving average, the export."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hand_depth_ros.network import FinderNet, HandDepthNet, load_weights, save_weights
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.crops import Sources

_VALIDATION_SEED = 12345


class Average:
    """Exponential moving average of a network's parameters and running statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for mine, theirs in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


class NetworkTraining(lightning.LightningModule):
    """A network, its average, and the data; a subclass adds ``dataset``, ``training_step`` and ``validation_step``."""

    network: nn.Module

    def __init__(
        self,
        network: HandDepthNet | FinderNet,
        config: TrainConfig,
        sources: Sources,
        validation: dict[str, Sources],
    ) -> None:
        super().__init__()
        self.config, self.sources, self.validation = config, sources, validation
        if config.start_from:
            kind: Any = type(network)
            network.load_state_dict(load_weights(Path(config.start_from), kind)[0].state_dict())
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.network, config.average_decay)

    def dataset(self, sources: Sources, length: int, seed: int, epoch: int) -> Dataset[dict[str, Any]]:
        """Samples of one epoch."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Any]:
        data = self.dataset(self.sources, self.config.epoch_samples, self.config.seed, self.current_epoch)
        workers = self.config.workers
        return DataLoader(
            data,
            self.config.batch,
            num_workers=workers,
            drop_last=True,
            prefetch_factor=4 if workers else None,
        )

    def val_dataloader(self) -> list[DataLoader[Any]]:
        return [
            DataLoader(self.dataset(sources, self.config.val_samples, _VALIDATION_SEED, 0), 64, num_workers=1)
            for sources in self.validation.values()
        ]

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.parameters() if p.ndim > 1]
        rest = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.config.learning_rate,
            total_steps=self.trainer.max_steps + 1,
            pct_start=0.03,
            final_div_factor=100.0,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def pictures(self, batch: dict[str, Tensor]) -> Tensor:
        """What the network takes, from the batch's uint8 ``rgb``."""
        return (batch["rgb"].float() / 255).contiguous(memory_format=torch.channels_last)

    def log_validation(self, dataloader_idx: int, values: dict[str, Tensor], count: int) -> None:
        """Log the means over the known values, under the name of the validation set."""
        name = list(self.validation)[dataloader_idx]
        means = {f"{name}/{key}": value.nanmean() for key, value in values.items()}
        self.log_dict(means, add_dataloader_idx=False, batch_size=count)

    def on_train_batch_end(self, *args: Any) -> None:
        self.average.update(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["average"] = (self.average.network.state_dict(), self.average.steps)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state, self.average.steps = checkpoint["average"]
        self.average.network.load_state_dict(state)

    def calibration(self, metrics: dict[str, float]) -> dict[str, float]:
        """What the validation says about the network's own uncertainty, kept in the weights file."""
        return {}

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network as a weights file."""
        save_weights(self.average.network, path, info)  # type: ignore[arg-type]
