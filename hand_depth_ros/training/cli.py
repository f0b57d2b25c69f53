"""``hand-depth train``: one config file, resumable, weights exported after every epoch."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from hand_depth_ros import options
from hand_depth_ros.errors import DatasetError, MissingDependencyError


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
    num_nodes: Annotated[int, typer.Option(help="Machines, for Lightning's DDP.")] = 1,
    precision: Annotated[
        str, typer.Option(help="As Lightning's Trainer takes it: bf16-mixed, 32-true, ...")
    ] = "bf16-mixed",
    limit_views: Annotated[
        int | None, typer.Option(help="Read only so many rendered views of each set, to try things out.")
    ] = None,
) -> None:
    """Train the depth network or the finder from rendered sets and photographs with landmarks."""
    options.refuse_folder("--out", out)
    try:
        import lightning
        from lightning.pytorch.callbacks import ModelCheckpoint
        from lightning.pytorch.loggers import CSVLogger
    except ImportError as error:
        raise MissingDependencyError.for_extra("train", "lightning") from error
    import cv2
    import torch

    from hand_depth_ros.training.config import TrainConfig

    cv2.setNumThreads(0)  # its thread pool does not survive the fork of the data loader's workers

    torch.set_float32_matmul_precision("high")
    plan = TrainConfig.read(config)
    module = _module(plan, cache or out / "cache", limit_views)

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
                info["config"] = {k: v for k, v in info["config"].items() if k not in _PATHS}
                module.export(out / f"{plan.task}.safetensors", info)
                print(
                    f"samples {seen}: " + " ".join(f"{k}={v:.4f}" for k, v in sorted(metrics.items())),
                    flush=True,
                )

    export = Export()
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
        log_every_n_steps=20,
    )
    # The budget is counted over all devices, and how many those are only the trainer knows.
    trainer.fit_loop.epoch_loop.max_steps = plan.samples // (plan.batch * trainer.world_size)
    checkpoint = out / "last.ckpt"
    trainer.fit(module, ckpt_path=str(checkpoint) if checkpoint.is_file() else None, weights_only=False)
    if export.step != trainer.global_step:  # the budget ended within an epoch
        trainer.save_checkpoint(checkpoint)
        trainer.validate(module, verbose=False)


_PATHS = ("rendered", "landmarks", "backgrounds", "mistakes_of", "seen_by", "start_from", "trunk_from")


def _module(plan: Any, cache: Path, limit_views: int | None) -> Any:
    from hand_depth_ros.training.crops import Sources, find_mistakes, load_backgrounds
    from hand_depth_ros.training.real import load_real_images
    from hand_depth_ros.training.rendered import View, as_resized_boxes, in_metres, load_views

    views_of = functools.cache(load_views)  # a set that is named twice is in memory once
    train_views: list[View] = []
    val_views: list[View] = []
    for folder in plan.rendered:
        train_views += views_of(Path(folder), "train", limit_views)
        val_views += views_of(Path(folder), "val", limit_views)
    for name, value, change in (("crop", "box", as_resized_boxes), ("unit", "metres", in_metres)):
        if getattr(plan, name) == value:
            train_views, val_views = change(train_views), change(val_views)
    seen_by = Path(plan.seen_by) if plan.seen_by else None
    real = [
        image for path in plan.landmarks for image in load_real_images(Path(path), cache, seen_by=seen_by)
    ]
    # The validation part of the photographs: contiguous runs of the listing, so that neighbouring video frames stay together.
    held_out = [i % 400 >= 380 for i in range(len(real))]
    train_real = [image for image, out in zip(real, held_out, strict=True) if not out]
    val_real = [image for image, out in zip(real, held_out, strict=True) if out]
    backgrounds = load_backgrounds(Path(plan.backgrounds) if plan.backgrounds else None)
    if not train_views and not train_real:
        raise DatasetError("the config names neither rendered views nor landmarks to train on")
    split = max(1, len(backgrounds) // 10)
    rooms = backgrounds[split:]
    more: dict[str, Any] = {name: getattr(plan, name) for name in ("edge_share", "least_seen", "stretch")}
    if plan.mistakes_of:
        more["mistakes"] = find_mistakes(rooms, Path(plan.mistakes_of))
    sources = Sources(train_views, train_real, rooms, plan.real_share, plan.negative_share, **more)
    validation = {}
    if val_views:
        validation["rendered"] = Sources(val_views, [], backgrounds[:split], 0.0, 0.0)
    if val_real:
        validation["real"] = Sources([], val_real, backgrounds[:split], 1.0, 0.0)
    if plan.task == "depth":
        from hand_depth_ros.training.depth import DepthTraining

        return DepthTraining(plan, sources, validation)
    from hand_depth_ros.training.finder import FinderTraining

    return FinderTraining(plan, sources, validation)
