"""One training run with Lightning: resume, fit within the budget, export weights."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import lightning
import torch
import typer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from hand_depth_ros.errors import DatasetError, differences
from hand_depth_ros.training.config import PATHS, TrainConfig
from hand_depth_ros.training.datasets import Datasets
from hand_depth_ros.training.modules.base import NetworkTraining
from hand_depth_ros.training.modules.depth import DepthTraining
from hand_depth_ros.training.modules.detector import DetectorTraining

_CHECKPOINT = "last.ckpt"
_MAY_CHANGE = {"epoch_samples", "val_samples", "workers"}
"""Config keys that may differ when a run is resumed."""
_GRADIENT_CLIP = 2.0


class TrainerOptions(NamedTuple):
    """Command-line options of a run.

    Attributes:
        devices: As for Lightning's Trainer.
        num_nodes: Number of machines.
        precision: As for Lightning's Trainer.
        minutes: Budget in minutes instead of samples.
    """

    devices: str
    num_nodes: int
    precision: str
    minutes: float | None


class ExportWeights(lightning.Callback):
    """Write and print the averaged weights with their validation metrics after every validation.

    Attributes:
        step: Step of the last export.
    """

    def __init__(self, config: TrainConfig, out: Path) -> None:
        self.config, self.out = config, out
        self.step = -1

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Export on the main process, except after the sanity check."""
        self.step = trainer.global_step
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        all_metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        metrics = {key: round(value, 5) for key, value in all_metrics.items() if math.isfinite(value)}
        samples = trainer.global_step * self.config.batch * trainer.world_size
        settings = dataclasses.asdict(self.config)
        info = {
            "samples": samples,
            "validation": metrics,
            "calibration": module.calibration(metrics),
            "config": {key: value for key, value in settings.items() if key not in PATHS},
        }
        module.export(self.out / f"{self.config.task}.safetensors", info)
        listed = " ".join(f"{key}={value:.4f}" for key, value in sorted(metrics.items()))
        print(f"samples {samples}: {listed}", flush=True)


def find_checkpoint(out: Path, config: TrainConfig) -> Path | None:
    """Return the checkpoint of an earlier run of the same config in ``out``, if there is one.

    Raises:
        DatasetError: The earlier run had another config, or its checkpoint cannot be read.
    """
    path = out / _CHECKPOINT
    if not path.is_file():
        return None
    try:
        before = torch.load(path, map_location="cpu", weights_only=False, mmap=True).get("config")
    except Exception as error:  # pickle and zip raise anything for a truncated file
        raise DatasetError(f"{path} cannot be read ({error}): remove it to start over") from error
    if not isinstance(before, dict):
        raise DatasetError(f"{path} is from another version: give another --out")
    now = dataclasses.asdict(config)
    known = {key: now.get(key) for key in before}  # an option added since does not count
    if other := differences(before, known, _MAY_CHANGE.union(PATHS)):
        raise DatasetError(f"{out} was started with another config ({other}): give another --out")
    return path


def run_training(
    config: TrainConfig,
    datasets: Datasets,
    out: Path,
    options: TrainerOptions,
    checkpoint: Path | None = None,
) -> None:
    """Train until the budget is used up; checkpoints, curves and weights go to ``out``.

    Raises:
        KeyboardInterrupt: Ctrl-C; the checkpoint of the last epoch stays.
        typer.BadParameter: An option that Lightning rejects.
    """
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of the data loader's workers
    torch.set_float32_matmul_precision("high")
    module = build_module(config, datasets)
    module.minutes = options.minutes
    export = ExportWeights(config, out)
    trainer = _build_trainer(options, out, export)
    _limit_steps(trainer, config, options)
    try:
        trainer.fit(module, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=False)
    except SystemExit as stopped:  # Lightning turns Ctrl-C into this
        if not trainer.interrupted:
            raise
        print("hand-depth: run the same command to resume from the last epoch's end", file=sys.stderr)
        raise KeyboardInterrupt from stopped
    if export.step != trainer.global_step:  # the budget ended within an epoch
        trainer.save_checkpoint(out / _CHECKPOINT)
        trainer.validate(module, verbose=False)


def build_module(config: TrainConfig, datasets: Datasets) -> NetworkTraining:
    """Return the Lightning module of the config's task with its data."""
    data, validation = datasets.split(config)
    kind = DepthTraining if config.task == "depth" else DetectorTraining
    return kind(config, data, validation)


def _build_trainer(options: TrainerOptions, out: Path, export: ExportWeights) -> lightning.Trainer:
    checkpoints = ModelCheckpoint(out, filename="last", save_last=False, enable_version_counter=False)
    try:
        return lightning.Trainer(
            max_epochs=-1,
            devices=options.devices,
            num_nodes=options.num_nodes,
            precision=options.precision,  # type: ignore[arg-type]
            default_root_dir=out,
            logger=CSVLogger(out, name="log"),  # a resumed run logs to the next version
            callbacks=[export, checkpoints],
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            gradient_clip_val=_GRADIENT_CLIP,
            benchmark=True,
            log_every_n_steps=20,
        )
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise typer.BadParameter(
            f"--devices {options.devices}, --precision {options.precision}: {error}"
        ) from error


def _limit_steps(trainer: lightning.Trainer, config: TrainConfig, options: TrainerOptions) -> None:
    """Set the number of steps from the samples; only the trainer knows the number of devices."""
    if options.minutes is not None:
        return
    samples_per_step = config.batch * trainer.world_size
    if samples_per_step > config.samples:
        raise typer.BadParameter(
            f"{trainer.world_size} devices with a batch of {config.batch} each need more samples "
            f"than samples: {config.samples}"
        )
    trainer.fit_loop.epoch_loop.max_steps = config.samples // samples_per_step
