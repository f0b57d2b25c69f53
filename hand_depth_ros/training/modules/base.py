"""What both trainings share: AdamW with a warm-up and a cosine over the whole budget, a moving average, the export."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import HandDepthNet, HandDetectorNet, load_weights, save_weights
from hand_depth_ros.network.backbone import BLOCKS, Backbone
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.mediapipe_weights import fill_backbone
from hand_depth_ros.training.samples.crops import Sources

_VALIDATION_SEED = 12345
_WARM_UP = 0.03
_DEEPER = ("bottom", "extra_blocks")


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


def begin(network: HandDepthNet | HandDetectorNet, config: TrainConfig) -> None:
    """Give a new network the values that the config has it start from.

    A depth network with a backbone may start from one without: the backbone then comes from ``backbone_from`` and says nothing yet. A
    network may start from one with fewer blocks (``_DEEPER``): those that it has more say nothing yet either.
    """
    backbone = getattr(network, "backbone", None)
    if config.start_from:
        kind: Any = type(network)
        start, _ = load_weights(Path(config.start_from), kind)
        known = start.state_dict()
        with_backbone = backbone is not None and not any(name.startswith("backbone.") for name in known)
        fewer = {name: getattr(start.config, name) for name in _DEEPER if hasattr(start.config, name)}
        if with_backbone:
            fewer["backbone"] = False
        try:
            network.load_state_dict({**known, **_that_others_lack(network, fewer)})
        except RuntimeError as error:
            mine, its = dataclasses.asdict(network.config), dataclasses.asdict(start.config)
            other = ", ".join(f"{name}: {its[name]}" for name in its if its[name] != mine[name])
            raise DatasetError(
                f"start_from: the network in {config.start_from} is another one than this config's ({other})"
            ) from error
        if not with_backbone:
            return
    if backbone is not None:
        if not config.backbone_from:
            raise DatasetError(
                "a network with a backbone needs backbone_from: docs/training.md says where it comes from"
            )
        path = Path(config.backbone_from)
        if path.suffix == ".safetensors":
            giver: Any = getattr(load_weights(path, HandDepthNet)[0], "backbone", None)
            if giver is None:
                raise DatasetError(f"backbone_from: the network in {path} has no backbone")
            backbone.load_state_dict(giver.state_dict())
        else:
            fill_backbone(backbone, path)


def _that_others_lack(network: HandDepthNet | HandDetectorNet, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The values of ``network`` that one doesn't have whose config differs from its own by ``settings``."""
    other = type(network)(dataclasses.replace(network.config, **settings)).state_dict()  # type: ignore[arg-type]
    return {name: value for name, value in network.state_dict().items() if name not in other}


def one_cycle(share: float) -> float:
    """Factor on the learning rate when so much of the budget is spent (0..1): up from 1/25, from 3 % on down to 1/2500, by
    cosines, as OneCycleLR has it."""
    first, top, last = 1 / 25, 1.0, 1 / 2500
    if share < _WARM_UP:
        low, risen = first, share / _WARM_UP
    else:
        low, risen = last, (1 - share) / (1 - _WARM_UP)
    return low + (top - low) * (1 - math.cos(math.pi * risen)) / 2


class NetworkTraining(lightning.LightningModule):
    """A network, its average, and the data; a subclass adds ``dataset``, ``training_step`` and ``validation_step``."""

    network: nn.Module

    def __init__(
        self,
        network: HandDepthNet | HandDetectorNet,
        config: TrainConfig,
        sources: Sources,
        validation: dict[str, Sources],
    ) -> None:
        super().__init__()
        self.config, self.sources, self.validation = config, sources, validation
        self.minutes: float | None = (
            None  # the budget, if it is one of time; to be set before training begins
        )
        self._spent = 0.0
        self._since: float | None = None
        begin(network, config)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(backbone := getattr(network, "backbone", None), Backbone):
            backbone.freeze(config.backbone_frozen_blocks if config.backbone_lr_scale else BLOCKS)
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
        rate, decay = self.config.learning_rate, self.config.weight_decay
        backbone = getattr(self.network, "backbone", None)
        known = [p for p in backbone.parameters() if p.requires_grad] if backbone is not None else []
        mine = {id(p) for p in backbone.parameters()} if backbone is not None else set()
        new = [p for p in self.network.parameters() if id(p) not in mine]
        kinds = [(new, rate), (known, rate * self.config.backbone_lr_scale)]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in part if (p.ndim > 1) == wide], "weight_decay": decay * wide, "lr": speed}
            for part, speed in kinds
            if part
            for wide in (True, False)
        ]
        optimizer = torch.optim.AdamW(groups, lr=rate)
        if self.minutes is not None:
            scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: one_cycle(self.spent()))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in groups],
            total_steps=self.trainer.max_steps + 1,
            pct_start=_WARM_UP,
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

    def spent(self) -> float:
        """Share of the ``minutes`` that the training has run, 0..1, what it ran before it was resumed included."""
        assert self.minutes is not None
        running = monotonic() - self._since if self._since is not None else 0.0
        return min(1.0, (self._spent + running) / (60 * self.minutes))

    def on_fit_start(self) -> None:
        self.average.network.to(self.device)

    def on_validation_start(self) -> None:
        self.average.network.to(self.device)

    def on_train_start(self) -> None:
        self._since = monotonic()

    def on_train_batch_end(self, *args: Any) -> None:
        self.average.update(self.network)
        if self.minutes is not None and self.spent() >= 1:
            self.trainer.fit_loop.epoch_loop.max_steps = (
                self.trainer.global_step
            )  # as if that had been the budget

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["plan"] = dataclasses.asdict(self.config)
        checkpoint["average"] = (self.average.network.state_dict(), self.average.steps)
        if self.minutes is not None:
            checkpoint["seconds"] = self.spent() * 60 * self.minutes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._spent = checkpoint.get("seconds", 0.0)
        state, self.average.steps = checkpoint["average"]
        self.average.network.load_state_dict(state)

    def calibration(self, metrics: dict[str, float]) -> dict[str, float]:
        """What the validation says about the network's own uncertainty, kept in the weights file."""
        return {}

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network as a weights file."""
        save_weights(self.average.network, path, info)  # type: ignore[arg-type]
