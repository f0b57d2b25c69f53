"""``hand-depth train``: one config file, resumable, weights exported after every epoch; and ``hand-depth pack``: its data."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import DatasetError, MissingDependencyError, differences

if TYPE_CHECKING:
    from hand_depth_ros.training.config import TrainConfig
    from hand_depth_ros.training.datasets import Material
    from hand_depth_ros.training.modules.base import NetworkTraining


def train(
    config: Annotated[
        Path,
        typer.Argument(help="YAML file, for example config/train_depth.yaml.", exists=True, dir_okay=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints, curves and weights; run again to resume.")
    ],
    cache: Annotated[
        Path | None, typer.Option(help="Folder for pseudo labels.  [default: OUT/cache]", show_default=False)
    ] = None,
    devices: Annotated[
        str, typer.Option(help="How many devices, or which, as Lightning's Trainer takes it: auto, 2, 0,1.")
    ] = "auto",
    num_nodes: Annotated[int, typer.Option(help="Machines, for Lightning's DDP.", min=1)] = 1,
    precision: Annotated[
        str, typer.Option(help="As Lightning's Trainer takes it: bf16-mixed, 32-true, ...")
    ] = "bf16-mixed",
    limit_views: Annotated[
        int | None,
        typer.Option(help="Read only so many rendered views of each set, to try things out.", min=1),
    ] = None,
    packed: Annotated[
        Path | None,
        typer.Option(help="Folder that `hand-depth pack` made: read that, not what the config names."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="The budget is so much time, whatever number of samples that is; the learning rate follows the clock.",
            min=0.01,
        ),
    ] = None,
) -> None:
    """Train the depth network or the detector from rendered sets and photographs with landmarks."""
    options.validate_folder("--out", out)
    try:
        import lightning
        from lightning.pytorch.callbacks import ModelCheckpoint
        from lightning.pytorch.loggers import CSVLogger
        from lightning.pytorch.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise MissingDependencyError.for_extra("train", "lightning") from error
    import cv2
    import torch

    from hand_depth_ros.training.config import PATHS, TrainConfig
    from hand_depth_ros.training.datasets import read_material
    from hand_depth_ros.training.packing import read_packed

    cv2.setNumThreads(0)  # its thread pool does not survive the fork of the data loader's workers

    torch.set_float32_matmul_precision("high")
    plan = TrainConfig.read(config)
    if packed is not None and limit_views is not None:
        raise typer.BadParameter("--limit-views does not go with --packed, whose views are all read")
    plan.check_files(packed is not None)
    checkpoint = _checkpoint(out, plan)
    material = read_packed(packed) if packed else read_material(plan, cache or out / "cache", limit_views)
    module = _module(plan, material)
    module.minutes = minutes

    class Export(lightning.Callback):
        step = -1

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            self.step = trainer.global_step
            if trainer.is_global_zero and not trainer.sanity_checking:
                found = {k: float(v) for k, v in trainer.callback_metrics.items()}
                metrics = {k: round(v, 5) for k, v in found.items() if math.isfinite(v)}
                seen = trainer.global_step * plan.batch * trainer.world_size
                info = {
                    "samples": seen,
                    "validation": metrics,
                    "calibration": module.calibration(metrics),
                    "config": dataclasses.asdict(plan),
                }
                info["config"] = {k: v for k, v in info["config"].items() if k not in PATHS}
                module.export(out / f"{plan.task}.safetensors", info)
                print(
                    f"samples {seen}: " + " ".join(f"{k}={v:.4f}" for k, v in sorted(metrics.items())),
                    flush=True,
                )

    export = Export()
    try:
        trainer = lightning.Trainer(
            max_epochs=-1,
            devices=devices,
            num_nodes=num_nodes,
            precision=precision,  # type: ignore[arg-type]
            default_root_dir=out,
            logger=CSVLogger(out, name="log"),  # a resumed run gets a log of its own: the next version
            callbacks=[
                export,
                ModelCheckpoint(out, filename="last", save_last=False, enable_version_counter=False),
            ],
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            gradient_clip_val=2.0,
            benchmark=True,
            log_every_n_steps=20,
        )
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise typer.BadParameter(f"--devices {devices}, --precision {precision}: {error}") from error
    if minutes is None and plan.batch * trainer.world_size > plan.samples:
        raise typer.BadParameter(
            f"{trainer.world_size} devices with a batch of {plan.batch} each are more than samples: {plan.samples}"
        )
    if (
        minutes is None
    ):  # The budget is counted over all devices, and how many those are only the trainer knows.
        trainer.fit_loop.epoch_loop.max_steps = plan.samples // (plan.batch * trainer.world_size)
    try:
        trainer.fit(module, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=False)
    except SystemExit as stopped:  # what Lightning makes of Ctrl-C
        if not trainer.interrupted:
            raise
        print("hand-depth: the same command goes on from the end of the last epoch", file=sys.stderr)
        raise KeyboardInterrupt from stopped
    if export.step != trainer.global_step:  # the budget ended within an epoch
        trainer.save_checkpoint(out / _CHECKPOINT)
        trainer.validate(module, verbose=False)


_CHECKPOINT = "last.ckpt"
_MAY_CHANGE = {"epoch_samples", "val_samples", "workers"}


def _checkpoint(out: Path, plan: TrainConfig) -> Path | None:
    """Where an earlier run of the same plan stopped; DatasetError if it was of another one, or can't be read."""
    import torch

    from hand_depth_ros.training.config import PATHS

    path = out / _CHECKPOINT
    if not path.is_file():
        return None
    try:
        begun = torch.load(path, map_location="cpu", weights_only=False, mmap=True).get("plan")
    except Exception as error:  # whatever pickle and zip make of a file that was cut
        raise DatasetError(f"{path} cannot be read ({error}): remove it to begin anew") from error
    now = dataclasses.asdict(plan)
    known = {key: now.get(key) for key in begun or {}}  # an option that came later is not another one
    if other := differences(begun or {}, known, _MAY_CHANGE.union(PATHS)):
        raise DatasetError(f"{out} was begun with another config ({other}): give another --out")
    return path


def _module(plan: TrainConfig, material: Material) -> NetworkTraining:
    sources, validation = material.sources(plan)
    if plan.task == "depth":
        from hand_depth_ros.training.modules.depth import DepthTraining

        return DepthTraining(plan, sources, validation)
    from hand_depth_ros.training.modules.detector import DetectorTraining

    return DetectorTraining(plan, sources, validation)


def pack(
    config: Annotated[
        Path, typer.Argument(help="YAML file of a training, as for `train`.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the shards.")],
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pseudo labels, which is not to be carried.  [default: OUT-labels]",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[int, typer.Option(help="Of pictures, as WebP has it, 1 to 100.", min=1, max=100)] = 75,
    shard_mb: Annotated[int, typer.Option(help="Most megabytes of a shard.", min=1, max=2000)] = 250,
) -> None:
    """Pack all that a training reads into a few small files, to carry it to where a GPU is: `train --packed` reads them."""
    options.validate_folder("--out", out)
    from hand_depth_ros.training.config import TrainConfig
    from hand_depth_ros.training.datasets import read_material
    from hand_depth_ros.training.packing import write_packed

    labels = cache or out.resolve().with_name(f"{out.resolve().name}-labels")
    plan = TrainConfig.read(config)
    plan.check_files()
    material = read_material(plan, labels)
    shards = write_packed(material, out, quality, shard_mb * 1_000_000)
    size = sum(path.stat().st_size for path in shards) / 1e6
    print(
        f"{len(material.train_views)} views to train on and {len(material.val_views)} to validate, "
        f"{len(material.photographs)} photographs, {len(material.backgrounds)} backgrounds: "
        f"{len(shards)} shards, {size:.1f} MB in {out}"
    )
